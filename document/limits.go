package document

// Limits bounds what is read of a client's documents. Zero values mean no
// limit, but for SpoolMemory.
type Limits struct {
	// Document is the greatest EncodedSize of a document, in bytes:
	// CouchDB's max_document_size.
	Document int64
	// Attachment is the greatest size of one attachment, in bytes: CouchDB's
	// max_attachment_size.
	Attachment int64
	// SpoolDir is where inline attachments go that are beyond SpoolMemory
	// bytes; see spool.New. Zero stands for 256 KiB.
	SpoolDir    string
	SpoolMemory int64
}

const defaultSpoolMemory = 256 << 10

// Check tells whether the document and each of its attachments, so far as
// their lengths are known, are within the limits. Errors are of kind TooLarge.
func (l Limits) Check(d *Document) error {
	if l.Document > 0 && int64(d.EncodedSize()) > l.Document {
		return &Error{TooLarge, "document_too_large", d.ID}
	}
	for i := range d.Attachments {
		if a := &d.Attachments[i]; l.Attachment > 0 && a.EncodedLength > l.Attachment {
			return attachmentTooLarge(a.Name)
		}
	}
	return nil
}

// text returns the most bytes of text that one value may have. The same
// document can be longer on the wire than canonically: escapes take up to
// thrice the room of what they stand for, white space any, and the reserved
// members do not count.
func (l Limits) text() int {
	if l.Document <= 0 || l.Document > maxText/4-1<<20 {
		return maxText
	}
	return int(4*l.Document + 1<<20)
}

// canonical returns the most bytes of canonical text that a document may have
// with its reserved members, among them up to crowdedText of attachments.
func (l Limits) canonical() int {
	return min(maxText, l.text()/4+2*crowdedText)
}

func attachmentTooLarge(name string) error {
	return &Error{TooLarge, "attachment_too_large", name}
}
