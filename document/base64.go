package document

import "errors"

var errBase64 = errors.New("document: invalid base64")

// sextets holds the value of each base64 digit, or one of the marks.
var sextets = func() (t [256]byte) {
	for i := range t {
		t[i] = notBase64
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	for _, c := range []byte(" \t\r\n") {
		t[c] = base64Space
	}
	t['='] = base64Pad
	return t
}()

const (
	notBase64   = 0xff
	base64Space = 0x80
	base64Pad   = 0x81
)

// A base64Decoder decodes text that comes in pieces, by the rules of Erlang's
// base64 module: the standard alphabet, white space anywhere, and padding that
// must be there. Bits beyond the last byte are not looked at.
type base64Decoder struct {
	quad uint32 // digits of the group that is not yet whole
	n    int    // characters of that group, padding included
	pads int
	done bool // padding ended the data
}

// decode appends the bytes that src decodes to. After an error nothing more may
// be decoded.
func (d *base64Decoder) decode(dst, src []byte) ([]byte, error) {
	for {
		if d.n == 0 && !d.done {
			for len(src) >= 4 {
				a, b, c, e := sextets[src[0]], sextets[src[1]], sextets[src[2]], sextets[src[3]]
				if (a|b|c|e)&0xc0 != 0 {
					break
				}
				q := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(e)
				dst = append(dst, byte(q>>16), byte(q>>8), byte(q))
				src = src[4:]
			}
		}
		if len(src) == 0 {
			return dst, nil
		}
		v := sextets[src[0]]
		src = src[1:]
		switch {
		case v == base64Space:
			continue
		case v == notBase64 || d.done || v == base64Pad && d.n < 2 || v != base64Pad && d.pads > 0:
			return dst, errBase64
		case v == base64Pad:
			d.pads++
			v = 0
		}
		d.quad = d.quad<<6 | uint32(v)
		if d.n++; d.n < 4 {
			continue
		}
		q := d.quad
		dst = append(dst, byte(q>>16), byte(q>>8), byte(q))
		dst = dst[:len(dst)-d.pads]
		d.done = d.pads > 0
		d.n, d.quad = 0, 0
	}
}

// close reports whether the text ended at the end of a group.
func (d *base64Decoder) close() error {
	if d.n != 0 {
		return errBase64
	}
	return nil
}
