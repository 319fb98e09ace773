package replicator

import (
	"crypto/md5"
	"io"
	"net/http"

	"github.com/mangrove-db/mangrove/document"
)

// contents returns what gives the contents of d's attachments that follow; nil if none does.
//
// They are in the message after the document. Where a server has sent JSON alone, they are in that, or they are got one
// by one: PouchDB Server sends no multipart.
func (p *passage) contents(d *document.Document, related *document.MultipartReader) func(func(*document.Attachment, io.Reader) error) error {
	if related != nil {
		return func(store func(*document.Attachment, io.Reader) error) error {
			return related.ReadAttachments(d.Attachments, store)
		}
	}
	since := knownGeneration(d.Revisions, p.f.known)
	follow := false
	for i := range d.Attachments {
		a := &d.Attachments[i]
		switch {
		case a.Data != nil:
			h := md5.New()
			_, _ = io.Copy(h, io.NewSectionReader(a.Data, 0, a.Data.Size())) // it is in memory
			h.Sum(a.Digest[:0])
		case a.RevPos > 0 && a.RevPos <= since:
			a.Follows, a.Stub = false, true
			continue
		case a.Encoding != "":
			// Got by itself it comes unpacked, and so it has another digest.
			a.Encoding, a.Digest, a.EncodedLength = "", [16]byte{}, a.Length
		}
		if a.RevPos <= 0 {
			a.RevPos = d.Rev.Gen
		}
		a.Follows, a.Stub = true, false
		follow = true
	}
	if !follow {
		return nil
	}
	return func(store func(*document.Attachment, io.Reader) error) error {
		for i := range d.Attachments {
			a := &d.Attachments[i]
			if !a.Follows {
				continue
			}
			var err error
			if a.Data != nil {
				err = store(a, io.NewSectionReader(a.Data, 0, a.Data.Size()))
			} else {
				err = p.attachment(d, a, store)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// attachment gets the content of one attachment.
func (p *passage) attachment(d *document.Document, a *document.Attachment, store func(*document.Attachment, io.Reader) error) error {
	q := &request{
		method: http.MethodGet, path: docPath(d.ID) + "/" + escape(a.Name), query: "rev=" + escape(d.Rev.String()), accept: "*/*",
		unbounded: true, // the document's own request may hold a connection
	}
	answer, err := p.r.c.open(p.ctx, q)
	if err != nil {
		return err
	}
	defer answer.abort()
	if answer.status != http.StatusOK {
		return answer.failure()
	}
	return store(a, answer.body)
}
