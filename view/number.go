package view

import (
	"bytes"
	"math"
	"math/big"
	"strconv"

	"github.com/mangrove-db/mangrove/collate"
	"github.com/mangrove-db/mangrove/document"
)

// number is a JSON number as CouchDB counts with it: an integer of any size, or a float.
type number struct {
	i       int64
	f       float64
	big     *big.Int // an integer beyond 64 bits
	isFloat bool
}

func integer(n int64) number { return number{i: n} }

// isNumber says whether a JSON value is a number.
func isNumber(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || value[0] >= '0' && value[0] <= '9')
}

// parseNumber reads a JSON number. Those beyond the range of floats are the greatest float.
func parseNumber(token []byte) number {
	if bytes.ContainsAny(token, ".eE") {
		f, err := strconv.ParseFloat(string(token), 64)
		if err != nil {
			f = math.Copysign(math.MaxFloat64, f)
		}
		return number{f: f, isFloat: true}
	}
	if len(token) <= 18 {
		var n int64
		digits := bytes.TrimPrefix(token, []byte("-"))
		for _, c := range digits {
			n = n*10 + int64(c-'0')
		}
		if len(digits) < len(token) {
			n = -n
		}
		return number{i: n}
	}
	n, _ := new(big.Int).SetString(string(token), 10)
	return fromBig(n)
}

// fromBig makes a number of an integer, which is kept; nil is 0.
func fromBig(n *big.Int) number {
	switch {
	case n == nil:
		return number{}
	case n.IsInt64():
		return number{i: n.Int64()}
	}
	return number{big: n}
}

func (n number) bigInt() *big.Int {
	if n.big != nil {
		return n.big
	}
	return big.NewInt(n.i)
}

func (n number) float() float64 {
	switch {
	case n.isFloat:
		return n.f
	case n.big != nil:
		f, _ := new(big.Float).SetInt(n.big).Float64()
		return f
	}
	return float64(n.i)
}

// add returns the sum, which is a float if one of the two is.
func (n number) add(m number) number {
	if n.isFloat || m.isFloat {
		return finite(n.float() + m.float())
	}
	if n.big == nil && m.big == nil {
		if s := n.i + m.i; (s > n.i) == (m.i > 0) {
			return number{i: s}
		}
	}
	return fromBig(new(big.Int).Add(n.bigInt(), m.bigInt()))
}

// square returns n×n.
func (n number) square() number {
	if n.isFloat {
		return finite(n.f * n.f)
	}
	if n.big == nil && n.i > -1<<31 && n.i < 1<<31 {
		return number{i: n.i * n.i}
	}
	return fromBig(new(big.Int).Mul(n.bigInt(), n.bigInt()))
}

// finite is a float that can be printed: what has grown beyond all floats stays at the greatest. CouchDB fails there.
func finite(f float64) number {
	return number{f: max(-math.MaxFloat64, min(math.MaxFloat64, f)), isFloat: true}
}

// compare orders numbers by their exact values.
func (n number) compare(m number) int {
	switch {
	case n.isFloat && m.isFloat:
		switch {
		case n.f < m.f:
			return -1
		case n.f > m.f:
			return 1
		}
		return 0
	case !n.isFloat && !m.isFloat && n.big == nil && m.big == nil:
		switch {
		case n.i < m.i:
			return -1
		case n.i > m.i:
			return 1
		}
		return 0
	}
	var a, b [40]byte
	return collate.Compare(n.append(a[:0]), m.append(b[:0]))
}

// append prints the number as CouchDB does.
func (n number) append(b []byte) []byte {
	switch {
	case n.isFloat:
		return document.AppendFloat(b, n.f)
	case n.big != nil:
		return n.big.Append(b, 10)
	}
	return strconv.AppendInt(b, n.i, 10)
}
