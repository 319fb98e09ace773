package mango

import (
	"math/big"
	"strconv"
)

// operator is what a node of a selector does.
type operator byte

const (
	opField operator = iota // its condition holds for the value at its path

	opAnd
	opOr
	opNot
	opNor // only inside $elemMatch, $allMatch and $keyMapMatch, see node.normalNegations

	opElemMatch
	opAllMatch
	opKeyMapMatch

	opLt
	opLte
	opEq
	opNe
	opGte
	opGt
	opIn
	opNin
	opExists
	opType
	opMod
	opRegex
	opBeginsWith
	opAll
	opSize
	opText
)

// operatorNames in selectors; opText is written $default in a normal form.
var operatorNames = [...]string{
	opAnd: "$and", opOr: "$or", opNot: "$not", opNor: "$nor",
	opElemMatch: "$elemMatch", opAllMatch: "$allMatch", opKeyMapMatch: "$keyMapMatch",
	opLt: "$lt", opLte: "$lte", opEq: "$eq", opNe: "$ne", opGte: "$gte", opGt: "$gt",
	opIn: "$in", opNin: "$nin", opExists: "$exists", opType: "$type", opMod: "$mod",
	opRegex: "$regex", opBeginsWith: "$beginsWith", opAll: "$all", opSize: "$size", opText: "$text",
}

func (op operator) String() string { return operatorNames[op] }

var operators = func() map[string]operator {
	m := map[string]operator{}
	for op, name := range operatorNames {
		if name != "" {
			m[name] = operator(op)
		}
	}
	return m
}()

// unsupported are MongoDB's operators that CouchDB names in its refusal.
var unsupported = map[string]bool{
	"$where": true, "$geoWithin": true, "$geoIntersects": true, "$near": true, "$nearSphere": true,
}

// negation of the operators that have one of their own. A field that is missing
// matches neither an operator nor its negation.
var negation = map[operator]operator{
	opLt: opGte, opLte: opGt, opEq: opNe, opNe: opEq, opGte: opLt, opGt: opLte, opIn: opNin, opNin: opIn,
}

// node is a selector or a part of one.
type node struct {
	op   operator
	kids []*node // of $and, $or and $nor any number, of opField, $not and the three matches of members one

	field string // opField: its path as in a selector; "" stands for the value itself
	arg   []byte // of the other operators: their argument's JSON, compacted

	list    [][]byte // $in, $nin, $all: the elements of arg
	flag    bool     // $exists
	kind    kind     // $type: kindNone for what is no type
	size    int      // $size: -1 for what no array can have
	divisor *big.Int // $mod
	rest    *big.Int
	pattern *pattern // $regex
	prefix  []byte   // $beginsWith

	// Set when the normal form is linked, see scope.link.
	slot  int                 // opField: the slot of its path
	scope *scope              // the three matches of members
	raw   bool                // compares in raw order, as conditions of _id do
	set   map[string]struct{} // $in, $nin with many elements: their sortable keys
}

// maxDigits bounds the integers of $mod. Documents have none longer than 308.
const maxDigits = 400

// newLeaf makes the node of an operator that has no selectors below it.
func (c *compiler) newLeaf(op operator, arg []byte) (*node, error) {
	if err := c.count(); err != nil {
		return nil, err
	}
	n := &node{op: op, arg: arg}
	ok := true
	switch op {
	case opIn, opNin, opAll:
		if ok = kindOf(arg) == kindArray; ok {
			for element := range elements(arg) {
				n.list = append(n.list, element)
			}
		}
	case opExists:
		ok = kindOf(arg) == kindBoolean
		n.flag = string(arg) == "true"
	case opType:
		ok = kindOf(arg) == kindString
		n.kind = kindNames[string(unquote(nil, arg))]
	case opMod:
		ok = n.setMod(arg)
	case opSize:
		ok = isInteger(arg) && (arg[0] != '-' || string(arg) == "-0")
		size, err := strconv.Atoi(string(arg))
		if err != nil {
			size = -1
		}
		n.size = size
	case opRegex:
		if kindOf(arg) != kindString {
			return nil, invalidOperator(op.String())
		}
		var err error
		if n.pattern, err = c.compilePattern(arg); err != nil {
			return nil, err
		}
	case opBeginsWith:
		if kindOf(arg) != kindString {
			return nil, invalidOperator(op.String())
		}
		n.prefix = unquote(nil, arg)
	case opText:
		switch kindOf(arg) {
		case kindString, kindNumber, kindBoolean:
		default:
			ok = false
		}
	}
	if !ok {
		return nil, badArgument(op.String(), arg)
	}
	return n, nil
}

func (n *node) setMod(arg []byte) bool {
	if kindOf(arg) != kindArray {
		return false
	}
	var numbers []*big.Int
	for element := range elements(arg) {
		number, ok := readInteger(element)
		if !ok {
			return false
		}
		numbers = append(numbers, number)
	}
	if len(numbers) != 2 {
		return false
	}
	n.divisor, n.rest = numbers[0], numbers[1]
	return true
}

func readInteger(number []byte) (*big.Int, bool) {
	if !isInteger(number) || len(number) > maxDigits {
		return nil, false
	}
	return new(big.Int).SetString(string(number), 10)
}
