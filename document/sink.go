package document

import "github.com/mangrove-db/mangrove/internal/spool"

// A sink decodes the text of a JSON string of base64 into a spool.
type sink struct {
	spool   *spool.Spool
	limit   int64 // of the spool's size; 0 for none
	name    string
	decoder base64Decoder
	invalid bool // the rest is of no interest
	escape  []byte
	buf     []byte
}

// write takes a part of the string's text, cut anywhere.
func (k *sink) write(b []byte) error {
	for len(b) > 0 && !k.invalid {
		if len(k.escape) > 0 {
			k.escape = append(k.escape, b[0])
			b = b[1:]
			if err := k.writeEscape(); err != nil {
				return err
			}
			continue
		}
		i := 0
		for i < len(b) && b[i] != '\\' {
			i++
		}
		if err := k.decode(b[:i]); err != nil {
			return err
		}
		if i < len(b) {
			k.escape = append(k.escape, '\\')
			i++
		}
		b = b[i:]
	}
	return nil
}

// writeEscape decodes the escape once it is whole.
func (k *sink) writeEscape() error {
	if len(k.escape) == 2 && k.escape[1] == 'u' || len(k.escape) > 2 && len(k.escape) < 6 {
		return nil
	}
	r, n := unescape(k.escape)
	k.escape = k.escape[:0]
	if n == 0 || r > 0x7f { // no base64 whichever way the string goes on
		k.invalid = true
		return nil
	}
	return k.decode([]byte{byte(r)})
}

func (k *sink) decode(b []byte) error {
	var err error
	if k.buf, err = k.decoder.decode(k.buf[:0], b); err != nil {
		k.invalid = true
		return nil
	}
	if k.limit > 0 && k.spool.Size()+int64(len(k.buf)) > k.limit {
		return attachmentTooLarge(k.name)
	}
	_, err = k.spool.Write(k.buf)
	return err
}

// finish returns the spool, or nil if the string was no base64.
func (k *sink) finish() *spool.Spool {
	if k.invalid || len(k.escape) > 0 || k.decoder.close() != nil {
		k.spool.Close()
		return nil
	}
	return k.spool
}
