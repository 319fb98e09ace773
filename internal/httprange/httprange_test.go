package httprange

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSet(t *testing.T) {
	const huge = "99999999999999999999999999"
	tests := []struct {
		header string
		size   int64
		want   []Range
		err    error
	}{
		{"", 256, nil, nil},
		{"bytes=0-9", 256, []Range{{0, 10}}, nil},
		{"bytes=10-19", 256, []Range{{10, 10}}, nil},
		{"bytes=250-", 256, []Range{{250, 6}}, nil},
		{"bytes=-5", 256, []Range{{251, 5}}, nil},
		{"bytes=0-0", 256, []Range{{0, 1}}, nil},
		{"bytes=255-255", 256, []Range{{255, 1}}, nil},
		{"bytes=0-255", 256, []Range{{0, 256}}, nil},
		{"bytes=250-900", 256, []Range{{250, 6}}, nil},
		{"bytes=250-" + huge, 256, []Range{{250, 6}}, nil},
		{"bytes=256-", 256, nil, ErrUnsatisfiable},
		{"bytes=900-901", 256, nil, ErrUnsatisfiable},
		{"bytes=" + huge + "-", 256, nil, ErrUnsatisfiable},
		{"bytes=5-3", 256, nil, ErrUnsatisfiable},
		{"bytes=abc", 256, nil, nil},
		{"items=0-5", 256, nil, nil},
		{"Bytes=0-5", 256, nil, nil},
		{"bytes=0-1,5-6", 256, []Range{{0, 2}, {5, 2}}, nil},
		{"bytes= 5-6 ,\t0-1,", 256, []Range{{5, 2}, {0, 2}}, nil},
		{"bytes=0-1,900-901", 256, nil, ErrUnsatisfiable},
		{"bytes=0-", 256, nil, nil},
		{"bytes=5-6,0-", 256, nil, nil},
		{"bytes=-256", 256, []Range{{0, 256}}, nil},
		{"bytes=-" + huge, 256, []Range{{0, 256}}, nil},
		{"bytes=-0", 256, nil, ErrUnsatisfiable},
		{"bytes=-5", 0, nil, ErrUnsatisfiable},
		{"bytes=0-0", 0, nil, ErrUnsatisfiable},
		{"bytes=0-", 0, nil, nil},
		{"bytes=", 256, nil, nil},
		{"bytes=-", 256, nil, nil},
		{"bytes=,,", 256, nil, nil},
		{"bytes=1-2-3", 256, nil, nil},
		{"bytes=--5", 256, nil, nil},
		{"bytes=+1-5", 256, nil, nil},
		{"bytes=900-901,x", 256, nil, nil},
		{"bytes=1-1" + strings.Repeat(",1-1", 8), 256, repeat(Range{1, 1}, 9), nil},
		{"bytes=1-1" + strings.Repeat(",1-1", 9), 256, nil, nil},
		{"bytes=1-1" + strings.Repeat(",", 1<<20), 256, nil, nil},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.40s of %d", tt.header, tt.size), func(t *testing.T) {
			got, err := ParseSet(tt.header, tt.size)
			if !errors.Is(err, tt.err) || err != nil && tt.err == nil {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("ranges (-want +got):\n%s", diff)
			}
			r, ok, err2 := Parse(tt.header, tt.size)
			if !errors.Is(err2, tt.err) || ok != (len(tt.want) == 1) || ok && r != tt.want[0] {
				t.Fatalf("Parse = %v, %v, %v", r, ok, err2)
			}
		})
	}
}

func repeat(r Range, n int) (rs []Range) {
	for range n {
		rs = append(rs, r)
	}
	return rs
}

// FuzzParse checks that no range leaves the content.
func FuzzParse(f *testing.F) {
	for _, header := range []string{"bytes=0-9", "bytes=-5,7-", "bytes=9-1", "bytes=x", "bytes=99999999999999999999-", "bytes=0-"} {
		f.Add(header, int64(10))
	}
	f.Add("bytes=-9223372036854775807", int64(0))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			t.Skip()
		}
		ranges, err := ParseSet(header, size)
		if err != nil && (ranges != nil || !errors.Is(err, ErrUnsatisfiable)) {
			t.Fatalf("ranges %v with error %v", ranges, err)
		}
		if len(ranges) >= maxRanges {
			t.Fatalf("%d ranges", len(ranges))
		}
		for _, r := range ranges {
			if r.Start < 0 || r.Length <= 0 || r.Start > size-r.Length {
				t.Fatalf("range %v of %d bytes", r, size)
			}
		}
	})
}
