package document

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/mangrove-db/mangrove/internal/spool"
)

// DefaultContentType is that of attachments sent without one.
const DefaultContentType = "application/octet-stream"

// maxAttachments is how many attachments one document may have: their
// descriptions do not count against max_document_size.
const maxAttachments = 1 << 16

// A taken is an attachment's data that a stream's scanner decoded and took out
// of the text; a placeholder with its index is in its place.
type taken struct {
	spool *spool.Spool // nil if the data is no base64
	used  bool         // by an attachment of the document
}

// appendPlaceholder appends the string that stands for the i-th taken data. No
// JSON has a NUL byte in a string, so no client can send one.
func appendPlaceholder(b []byte, i int) []byte {
	b = append(b, '"', 0)
	b = strconv.AppendInt(b, int64(i), 10)
	return append(b, '"')
}

// decodeAttachments reads the object _attachments, which is canonical text.
// As in CouchDB, members that are no objects are ignored.
func decodeAttachments(text []byte, data []taken) ([]Attachment, error) {
	var list []Attachment
	for key, value := range membersOf(text) {
		if value[0] != '{' {
			continue
		}
		a, err := decodeAttachment(unquote(key), value, data)
		if err != nil {
			return nil, err
		}
		if len(list) == maxAttachments {
			return nil, &Error{TooLarge, "document_too_large", "too many attachments"}
		}
		list = append(list, a)
	}
	for i := range list {
		if err := ValidateAttachmentName(list[i].Name); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func invalidData(name string) error {
	return badRequest("Invalid attachment data for " + name)
}

func decodeAttachment(name string, text []byte, taken []taken) (Attachment, error) {
	a := Attachment{Name: name, ContentType: DefaultContentType, Length: -1, EncodedLength: -1}
	var data []byte
	for key, value := range membersOf(text) {
		switch string(key) {
		case `"content_type"`:
			if value[0] != '"' {
				return a, invalidData(name)
			}
			a.ContentType = unquote(value)
		case `"stub"`:
			a.Stub = value[0] == 't'
		case `"follows"`:
			a.Follows = value[0] == 't'
		case `"revpos"`:
			if n, err := strconv.Atoi(string(value)); err == nil && n > 0 {
				a.RevPos = n
			}
		case `"length"`:
			a.Length = decodeLength(value)
		case `"encoded_length"`:
			a.EncodedLength = decodeLength(value)
		case `"encoding"`:
			if value[0] == '"' {
				a.Encoding = unquote(value)
			}
		case `"digest"`:
			a.Digest = decodeDigest(value)
		case `"data"`:
			data = value
		}
	}
	if a.Stub || a.Follows {
		a.Follows = !a.Stub
		switch a.Encoding {
		case "gzip":
			if a.EncodedLength < 0 {
				a.EncodedLength = a.Length
			}
		case "", "identity":
			a.Encoding = ""
			a.EncodedLength = a.Length
		default:
			return a, invalidData(name)
		}
		return a, nil
	}

	// Inline data is always identity; its length and digest are found anew.
	a.Encoding, a.Digest = "", [16]byte{}
	if len(data) == 0 || data[0] != '"' {
		return a, invalidData(name)
	}
	if len(data) > 3 && data[1] == 0 {
		i, err := strconv.Atoi(string(data[2 : len(data)-1]))
		if err != nil || i < 0 || i >= len(taken) || taken[i].spool == nil {
			return a, invalidData(name)
		}
		taken[i].used = true
		a.Data = taken[i].spool
	} else {
		b, err := decodeData(data)
		if err != nil {
			return a, invalidData(name)
		}
		a.Data = bytes.NewReader(b)
	}
	a.Length = a.Data.Size()
	a.EncodedLength = a.Length
	return a, nil
}

// decodeData decodes a canonical JSON string of base64.
func decodeData(text []byte) ([]byte, error) {
	text = text[1 : len(text)-1]
	if bytes.IndexByte(text, '\\') >= 0 { // line ends, most likely
		text = appendUnescaped(make([]byte, 0, len(text)), text)
	}
	var d base64Decoder
	b, err := d.decode(make([]byte, 0, len(text)/4*3), text)
	if err == nil {
		err = d.close()
	}
	return b, err
}

func decodeLength(text []byte) int64 {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// decodeDigest reads "md5-" and the base64 of an MD5. Anything else counts as
// no digest, as in CouchDB.
func decodeDigest(text []byte) (sum [16]byte) {
	if text[0] != '"' {
		return sum
	}
	s, ok := strings.CutPrefix(unquote(text), "md5-")
	if !ok {
		return sum
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err == nil && len(b) == len(sum) {
		copy(sum[:], b)
	}
	return sum
}
