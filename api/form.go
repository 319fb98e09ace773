package api

import (
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/revtree"
	"github.com/mangrove-db/mangrove/storage"
)

// postForm adds the files of a browser's form to a document. The form names the document's revision, or holds the
// whole document.
func postForm(q *request) error {
	db, err := q.db()
	if err != nil {
		return err
	}
	if err := q.checkReferer(); err != nil {
		return err
	}
	if err := checkID(db, q.docID); err != nil {
		return err
	}
	kind, params, _ := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if kind != "multipart/form-data" {
		return unsupportedType("Content-Type must be multipart/form-data")
	}
	f := form{q: q, db: db}
	if err := f.read(multipart.NewReader(q.Body, params["boundary"])); err != nil {
		return f.close(err)
	}
	d := f.doc
	if d == nil {
		if f.rev.IsZero() {
			return errInvalidRev
		}
		if d, err = q.attachedTo(db, f.rev); err != nil {
			return err
		}
	}
	for _, a := range f.files {
		d.Attachments = without(d.Attachments, a.Name)
	}
	d.Attachments = slices.Concat(f.files, d.Attachments)
	rev, err := q.write(db, d, storage.Edit)
	if err != nil {
		return err
	}
	q.w.Header()["Etag"] = []string{`"` + rev.String() + `"`}
	return q.replyWritten(http.StatusCreated, q.docID, rev)
}

// checkReferer refuses forms of other sites: a browser sends them with its user's rights.
func (q *request) checkReferer() error {
	referer := q.Header.Get("Referer")
	if referer == "" {
		return badRequest("Referer header required.")
	}
	if u, err := url.Parse(referer); err != nil || u.Host != q.host() {
		return badRequest("Referer header must match host.")
	}
	return nil
}

// form is what has been read of a form.
type form struct {
	q     *request
	db    *storage.DB
	rev   revtree.ID
	doc   *document.Document // if the form holds one
	files []document.Attachment
}

func (f *form) close(err error) error {
	if f.doc != nil {
		_ = f.doc.Close()
	}
	return err
}

// maxFiles is how many files one form may bring.
const maxFiles = 1000

// read reads the fields in their order, and stores files as they come.
func (f *form) read(r *multipart.Reader) error {
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return formError(err)
		}
		switch part.FormName() {
		case "_rev":
			text, err := io.ReadAll(io.LimitReader(part, revtree.MaxHash+32))
			if err != nil {
				return formError(err)
			}
			if f.rev, err = parseRev(string(text)); err != nil {
				return err
			}
		case "_doc":
			if f.doc != nil {
				return badRequest("The form holds more than one document.")
			}
			if f.doc, err = document.DecodeStream(part, f.q.limits()); err != nil {
				return err
			}
			if err := f.q.settle(f.doc, revtree.ID{}, storage.Edit); err != nil {
				return err
			}
		case "_attachments":
			if err := f.store(part); err != nil {
				return err
			}
		}
	}
}

// store stores one file.
func (f *form) store(part *multipart.Part) error {
	// A name may hold slashes, which multipart.Part.FileName takes for those of a path.
	_, params, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	a := document.Attachment{Name: params["filename"], ContentType: part.Header.Get("Content-Type"), Follows: true, Length: -1, EncodedLength: -1}
	if a.ContentType == "" {
		a.ContentType = document.DefaultContentType
	}
	if a.Name == "" { // an input that was left empty
		return nil
	}
	if err := document.ValidateAttachmentName(a.Name); err != nil {
		return err
	}
	if len(f.files) == maxFiles {
		return badRequestf("The form has more than %d files.", maxFiles)
	}
	if err := f.q.storeAttachment(f.q.Context(), f.db, &a, part); err != nil {
		return formError(err)
	}
	f.files = append(without(f.files, a.Name), a)
	return nil
}

// formError tells what is wrong with a form, unless the error speaks for itself.
func formError(err error) error {
	if toError(err) != nil {
		return err
	}
	return badRequest("The form cannot be read: " + err.Error())
}
