package view

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mangrove-db/mangrove/script"
	"github.com/mangrove-db/mangrove/storage"
)

// newIndexer returns an indexer for reducers alone.
func newIndexer() *Indexer { return New(Options{Engine: script.New(script.Options{})}) }

// reduce reduces rows of the values with keys 0, 1, 2…, and shows the result as clients see it.
func reduce(t tb, source string, values ...string) string {
	t.Helper()
	rows := make([]storage.IndexRow, len(values))
	for i, v := range values {
		rows[i] = storage.IndexRow{ID: strconv.Itoa(i), Value: appendRow(nil, strconv.AppendInt(nil, int64(i), 10), []byte(v))}
	}
	r := newIndexer().newReducer(&Design{ID: "_design/d"}, source)
	reduction, err := r.Reduce(context.Background(), rows)
	if err != nil {
		return err.Error()
	}
	if isFailure(reduction) {
		return parseFailure(reduction).Error()
	}
	return string(finish(r, reduction))
}

func TestBuiltinReducers(t *testing.T) {
	sumError := func(cause string) string {
		return `{"error":"builtin_reduce_error","reason":"` + sumReason + `","caused_by":` + cause + `}`
	}
	for _, tc := range []struct {
		source string
		values []string
		want   string
	}{
		{"_sum", []string{"1", "2"}, "3"},
		{"_sum", []string{"1", "0.5"}, "1.5"},
		{"_sum", []string{"0.5", "0.5"}, "1.0"},
		{"_sum", []string{"9007199254740993", "1"}, "9007199254740994"},
		{"_sum", []string{"9223372036854775807", "1"}, "9223372036854775808"},
		{"_sum", []string{"9223372036854775808", "-1"}, "9223372036854775807"},
		{"_sum", []string{"123456789012345678901234567890", "1.0"}, "1.2345678901234568e+29"},
		{"_sum", []string{"1e308", "1e308"}, "1.7976931348623157e+308"},
		{"_sum", []string{"[1,2,3]", "[10,20]", "5"}, "[16,22,3]"},
		{"_sum", []string{"5", "[1,2]"}, "[6,2]"},
		{"_sum", []string{"[1,\"x\"]"}, `[1,"x"]`},
		{"_sum", []string{"[1,\"x\"]", "[1,2]"}, sumError(`["x"]`)},
		{"_sum", []string{`{"b":1,"a":2}`}, `{"b":1,"a":2}`},
		{"_sum", []string{`{"x":1,"y":2}`, `{"y":3,"z":4}`}, `{"x":1,"y":5,"z":4}`},
		{"_sum", []string{`{"a":1}`, `{"aa":1}`, `{"a":2}`}, `{"a":3,"aa":1}`},
		{"_sum", []string{`{"o":{"p":1,"q":[1,2]}}`, `{"o":{"p":2,"q":[10,20]},"r":7}`}, `{"o":{"p":3,"q":[11,22]},"r":7}`},
		{"_sum", []string{`1`, `{"x":1}`}, sumError(`{"x":1}`)},
		{"_sum", []string{`{"x":1}`, `1`}, sumError(`1`)},
		{"_sum", []string{`0`, `{"x":1}`}, `{"x":1}`},
		{"_sum", []string{`"one"`, "2"}, sumError(`"one"`)},
		{"_sum", []string{"2", "null"}, sumError("null")},
		{"_sum", []string{"true", `"later"`}, sumError("true")},
		{"_sumx", []string{"1"}, "1"},
		{"_count", []string{"null", `"x"`, "1"}, "3"},
		{"_stats", []string{"4", "1", "-2.5"}, `{"sum":2.5,"count":3,"min":-2.5,"max":4,"sumsqr":23.25}`},
		{"_stats", []string{"[1,2]", "[3,4]"}, `[{"sum":4,"count":2,"min":1,"max":3,"sumsqr":10},{"sum":6,"count":2,"min":2,"max":4,"sumsqr":20}]`},
		{"_stats", []string{`{"sum":10,"count":2,"min":4,"max":6,"sumsqr":52,"note":1}`, "3"}, `{"sum":13,"count":3,"min":3,"max":6,"sumsqr":61}`},
		{"_stats", []string{`"text"`}, "invalid_value: non-numeric _stats input: <<116,101,120,116>>"},
		{"_stats", []string{"1", "null"}, "invalid_value: non-numeric _stats input: null"},
		{"_stats", []string{`{"sum":1}`}, `invalid_value: user _stats input missing required field count ([{<<"sum">>,1}])`},
		{"_stats", []string{`{"sum":"x"}`}, `invalid_value: non-numeric _stats input received for sum: <<120>>`},
		{"_stats", []string{`[1,{"a":[true,"é"]}]`}, `invalid_value: user _stats input missing required field sum ([{<<"a">>,[true,<<195,169>>]}])`},
		{"_stats", []string{"[1]", "2"}, `invalid_value: The _stats function requires that map values be numbers or arrays of numbers, not '{[{<<"sum">>,2},{<<"count">>,1},{<<"min">>,2},{<<"max">>,2},{<<"sumsqr">>,4}]}'`},
		{"_first", []string{"5", "6"}, "5"},
		{"_last", []string{"5", "null"}, "null"},
		{"_top_3", []string{"4", "6", "1", "9", "6"}, "[9,6,4]"},
		{"_bottom_2", []string{"4", "6", "1", "9", "1.0"}, "[1,4]"},
		{"_top_10", []string{"null", `"x"`, "[false]", "[true]", `{"a":1}`, "null"}, `[{"a":1},[true],[false],"x",null]`},
		{"_approx_count_distinct", []string{"1", "1", "1"}, "3"},
		{"_top_0", []string{"1"}, "invalid_design_doc: rank value must be between 1 and 100"},
		{"function (k, v, r) { return sum(v); }", []string{"1", "2"}, "3"},
		{"function (k) { return k; }", []string{"1"}, `[[0,"0"]]`},
		{"function () { throw 'no'; }", []string{"1"}, "null"},
		{"function () { }", []string{"1"}, "null"},
		{"function (", []string{"1"}, "compilation_error"},
		{"function () { return new Array(6000).join('x'); }", []string{"1"}, "reduce_overflow_error: Reduce output must shrink more rapidly: input size: "},
	} {
		if got := reduce(t, tc.source, tc.values...); !strings.HasPrefix(got, tc.want) || len(got) > len(tc.want)+200 {
			t.Errorf("%s of %s\n got %s\nwant %s", tc.source, tc.values, got, tc.want)
		}
	}
}

func TestReduceLimit(t *testing.T) {
	x := newIndexer()
	for _, tc := range []struct {
		limit ReduceLimit
		fails bool
	}{
		{DefaultReduceLimit, true},
		{ReduceLimit{Mode: LimitLog, Threshold: 5000, Ratio: 2}, false},
		{ReduceLimit{Mode: LimitOff}, false},
		{ReduceLimit{Threshold: 10_000, Ratio: 2}, false},
	} {
		x.limit = func() ReduceLimit { return tc.limit }
		r := x.newReducer(&Design{}, "function (k, v) { return new Array(6001).join('x'); }")
		got, err := r.Reduce(context.Background(), []storage.IndexRow{{Value: appendRow(nil, null, null)}})
		if err != nil || isFailure(got) != tc.fails {
			t.Errorf("%+v: %.80s, %v", tc.limit, got, err)
		}
		if again, err := r.Rereduce(context.Background(), [][]byte{[]byte("1"), got}); tc.fails && string(again) != string(got) {
			t.Errorf("the failure was forgotten: %.80s, %v", again, err)
		}
	}
}

func TestRunawayReduce(t *testing.T) {
	x := newIndexer()
	x.engine = script.New(script.Options{Time: 50e6})
	r := x.newReducer(&Design{ID: "_design/d"}, "function () { for (;;) {} }")
	for range 3 { // the second and the third at once
		_, err := r.Reduce(context.Background(), []storage.IndexRow{{Value: appendRow(nil, null, null)}})
		if e, ok := errors.AsType[*script.Error](err); !ok || e.Kind != script.Timeout || !strings.Contains(e.Reason, "_design/d") {
			t.Fatal(err)
		}
	}
}

func TestCheckReduce(t *testing.T) {
	for source, want := range map[string]string{
		"_sum": "", "_sumx": "", "_count": "", "_stats": "", "_approx_count_distinct": "", "_first": "", "_last": "",
		"_top_1": "", "_top_100": "", "_bottom_5": "", "function () {}": "",
		"_top_0": "rank value must be between 1 and 100", "_top_101": "rank value must be between 1 and 100",
		"_bottom_-1": "rank value must be between 1 and 100", "_top_99999999999999999999": "rank value must be between 1 and 100",
		"_top_x": "invalid rank reducer", "_top_": "invalid rank reducer",
		"_mean": "`_mean` is not a supported reduce function.", "_": "`_` is not a supported reduce function.",
		"_SUM": "`_SUM` is not a supported reduce function.",
	} {
		err := CheckReduce(source)
		if want == "" && err == nil {
			continue
		}
		if e, ok := errors.AsType[*Error](err); !ok || e.Name != "invalid_design_doc" || e.Reason != want || e.Kind != Invalid {
			t.Errorf("%s: %v, want %q", source, err, want)
		}
	}
}

func TestApproximateCount(t *testing.T) {
	for _, n := range []int{0, 1, 10, 100, 1000, 1800, 2500, 5000, 9000, 12_000, 50_000, 200_000} {
		var r registers
		for i := range n {
			rows := []storage.IndexRow{{Value: appendRow(nil, fmt.Appendf(nil, `["key",%d]`, i), null)}}
			part, err := distinctReducer{}.Reduce(context.Background(), rows)
			if err != nil {
				t.Fatal(err)
			}
			r.merge(parseRegisters(part))
		}
		if got := float64(parseRegisters(r.append(nil)).estimate()); math.Abs(got-float64(n)) > 0.06*float64(n) {
			t.Errorf("%d distinct keys are counted as %v", n, got)
		}
	}
}

// TestReducerAlgebra cuts rows anywhere and reduces the reductions: the result must be that of all rows at once.
func TestReducerAlgebra(t *testing.T) {
	ctx := context.Background()
	values := map[string]*rapid.Generator[string]{
		"ints":  rapid.Map(rapid.Int64(), func(n int64) string { return strconv.FormatInt(n, 10) }),
		"small": rapid.Map(rapid.IntRange(-3, 3), strconv.Itoa),
		"arrays": rapid.Map(rapid.SliceOfN(rapid.IntRange(0, 9), 2, 2), func(s []int) string {
			return fmt.Sprintf("[%d,%d]", s[0], s[1])
		}),
		"objects": rapid.Map(rapid.IntRange(0, 9), func(n int) string { return fmt.Sprintf(`{"a%d":1,"b":{"c":[%d]}}`, n%3, n) }),
		"any":     rapid.SampledFrom([]string{"null", "true", "1", "1.5", `"x"`, `"é"`, "[]", "[1]", `{"a":1}`, `{"sum":1}`}),
	}
	kinds := map[string][]string{
		"_sum": {"ints", "small", "arrays", "objects"}, "_stats": {"ints", "small", "arrays"}, "_count": {"any"}, "_first": {"any"},
		"_last": {"any"}, "_top_3": {"any", "small"}, "_bottom_2": {"any", "ints"}, "_approx_count_distinct": {"any"},
	}
	x := newIndexer()
	for source, of := range kinds {
		t.Run(source, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				texts := rapid.SliceOfN(values[rapid.SampledFrom(of).Draw(t, "kind")], 1, 30).Draw(t, "values")
				rows := make([]storage.IndexRow, len(texts))
				for i, v := range texts {
					rows[i].Value = appendRow(nil, strconv.AppendInt(nil, int64(i/2), 10), []byte(v))
				}
				r := x.newReducer(&Design{}, source)
				must := func(b []byte, err error) []byte {
					if err != nil {
						t.Fatal(err)
					}
					return b
				}
				whole := must(r.Reduce(ctx, rows))
				var parts [][]byte
				for rest := rows; len(rest) > 0; {
					n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
					part := must(r.Reduce(ctx, rest[:n]))
					if rapid.Bool().Draw(t, "again") {
						part = must(r.Rereduce(ctx, [][]byte{part}))
					}
					parts, rest = append(parts, part), rest[n:]
				}
				if got := must(r.Rereduce(ctx, parts)); string(got) != string(whole) {
					t.Fatalf("in parts %s, as a whole %s", got, whole)
				}
			})
		})
	}
}
