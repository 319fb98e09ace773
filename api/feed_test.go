package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mangrove-db/mangrove/storage"
)

// scripted is a source that tells numbers as it is given them. A round that finds -1 looks at something that does not
// pass, which takes a second.
type scripted struct {
	rows chan int
	gone chan struct{} // closed when what the feed tells of has gone
	next []int         // what wait has found
	at   int
}

func newScripted() *scripted { return &scripted{rows: make(chan int, 100), gone: make(chan struct{})} }

func (s *scripted) round(ctx context.Context, f *feed) (bool, error) {
	for len(s.next) > 0 {
		n := s.next[0]
		s.next = s.next[1:]
		if n < 0 {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return false, ctx.Err()
			}
			f.looked = 15 // the clock is looked at
		} else {
			f.openRow()
			text := strconv.AppendInt(nil, int64(n), 10)
			f.out = append(f.out, text...)
			f.closeRow(text)
			s.at = n
		}
		if f.full() {
			return false, nil
		}
		if pause, err := f.pace(); pause || err != nil {
			return pause, err
		}
	}
	return false, nil
}

func (s *scripted) wait(ctx context.Context) error {
	select {
	case n := <-s.rows:
		s.next = append(s.next, n)
		return nil
	case <-s.gone:
		return storage.ErrNoDatabase
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *scripted) appendEnd(b []byte) []byte {
	return strconv.AppendInt(append(b, `"last_seq":`...), int64(s.at), 10)
}

// listener is a client of a feed. It notes what it got, and when.
type listener struct {
	header http.Header
	began  time.Time
	heard  strings.Builder // "seconds text;" for each piece that was sent
	text   strings.Builder
	fail   error
}

func newListener() *listener { return &listener{header: http.Header{}, began: time.Now()} }

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(int)     {}
func (l *listener) Flush()              {}

func (l *listener) Write(p []byte) (int, error) {
	if l.fail != nil {
		return 0, l.fail
	}
	l.heard.WriteString(time.Since(l.began).String() + " " + strconv.Quote(string(p)) + "; ")
	return l.text.Write(p)
}

// listen serves a feed and returns what the listener heard, and the error.
func listen(ctx context.Context, l *listener, ending context.Context, o feedOptions, s source) error {
	q := &request{
		Request: httptest.NewRequestWithContext(ctx, http.MethodGet, "/db/_changes", nil),
		w:       &response{ResponseWriter: l},
		api:     &API{stats: newStats(), ending: ending, log: slog.New(slog.DiscardHandler)},
	}
	return q.serveFeed(o, s)
}

func TestFeedClock(t *testing.T) {
	const second = time.Second
	tests := []struct {
		name string
		o    feedOptions
		next []int           // what is there at the beginning
		play func(*scripted) // what happens while the feed waits
		want string
	}{
		{
			"a continuous feed ends when nothing has come for its timeout",
			feedOptions{kind: feedContinuous, limit: -1, timeout: 3 * second},
			[]int{1},
			func(s *scripted) { time.Sleep(2 * second); s.rows <- 2 },
			`0s "1\n"; 2s "2\n"; 5s "{\"last_seq\":2}\n"; `,
		},
		{
			"a heartbeat keeps it open",
			feedOptions{kind: feedContinuous, limit: -1, heartbeat: 2 * second, timeout: second},
			nil,
			func(s *scripted) { time.Sleep(5 * second); s.rows <- 1; time.Sleep(3 * second); close(s.gone) },
			`0s ""; 2s "\n"; 4s "\n"; 5s "1\n"; 7s "\n"; 8s "{\"last_seq\":1}\n"; `,
		},
		{
			"an event source has heartbeats of its own and no last line",
			feedOptions{kind: feedEventSource, limit: -1, heartbeat: 2 * second},
			[]int{7},
			func(s *scripted) { time.Sleep(3 * second); close(s.gone) },
			`0s "data: 7\nid: 7\n\n"; 2s "event: heartbeat\ndata: \n\n"; `,
		},
		{
			"longpoll answers at once if there is something",
			feedOptions{kind: feedLongpoll, limit: -1, timeout: second},
			[]int{1, 2},
			func(*scripted) {},
			`0s "{\"results\":[\n1,\r\n2\n],\n\"last_seq\":2}\n"; `,
		},
		{
			"longpoll ends with the first news",
			feedOptions{kind: feedLongpoll, limit: -1, timeout: 9 * second},
			nil,
			func(s *scripted) { time.Sleep(4 * second); s.rows <- 5 },
			`0s "{\"results\":[\n"; 4s "5\n],\n\"last_seq\":5}\n"; `,
		},
		{
			"longpoll gives up",
			feedOptions{kind: feedLongpoll, limit: -1, timeout: 9 * second},
			nil,
			func(*scripted) {},
			`0s "{\"results\":[\n"; 9s "\n],\n\"last_seq\":0}\n"; `,
		},
		{
			"the limit ends a feed that has a heartbeat",
			feedOptions{kind: feedContinuous, limit: 2, heartbeat: second},
			[]int{1, 2, 3},
			func(*scripted) {},
			`0s "1\n2\n{\"last_seq\":2}\n"; `,
		},
		{
			"a limit of zero waits for nothing",
			feedOptions{kind: feedLongpoll, limit: 0, heartbeat: second},
			nil,
			func(*scripted) {},
			`0s "{\"results\":[\n\n],\n\"last_seq\":0}\n"; `,
		},
		{
			"signs of life go out while a filter finds nothing",
			feedOptions{kind: feedNormal, limit: -1, heartbeat: 2 * second},
			[]int{-1, -1, -1, -1, 5},
			func(*scripted) {},
			`2s "{\"results\":[\n\n"; 4s "\n"; 4s "5\n],\n\"last_seq\":5}\n"; `,
		},
		{
			"also if the client did not ask for them",
			feedOptions{kind: feedNormal, limit: -1, timeout: second},
			[]int{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 5},
			func(*scripted) {},
			`10s "{\"results\":[\n\n"; 10s "5\n],\n\"last_seq\":5}\n"; `,
		},
		{
			"rows that are found slowly are not held back",
			feedOptions{kind: feedContinuous, limit: -1, timeout: 2 * second},
			[]int{1, -1, 2, -1},
			func(*scripted) {},
			`1s "1\n"; 2s "2\n"; 4s "{\"last_seq\":2}\n"; `,
		},
		{
			"news that do not pass put off the end no further than their scan",
			feedOptions{kind: feedContinuous, limit: -1, timeout: 3 * second},
			nil,
			func(s *scripted) {
				for range 10 {
					s.rows <- -1
				}
			},
			`0s ""; 3s "{\"last_seq\":0}\n"; `,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted()
				s.next = test.next
				l := newListener()
				go test.play(s)
				if err := listen(t.Context(), l, context.Background(), test.o, s); err != nil {
					t.Fatal(err)
				}
				if got := l.heard.String(); got != test.want {
					t.Errorf("heard\n%s\nwant\n%s", got, test.want)
				}
			})
		})
	}
}

// A feed ends in good order when the node stops, also in the midst of a round, and one that begins later ends at once.
func TestFeedStop(t *testing.T) {
	for name, next := range map[string][]int{"waiting": {1}, "in a round": {1, -1, -1, -1, -1}} {
		for _, kind := range []feedKind{feedLongpoll, feedContinuous} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ending, stop := context.WithCancel(t.Context())
					s := newScripted()
					s.next = next
					l := newListener()
					time.AfterFunc(2500*time.Millisecond, stop)
					if err := listen(t.Context(), l, ending, feedOptions{kind: kind, limit: -1, timeout: time.Hour}, s); err != nil {
						t.Error(err)
					}
					if took := time.Since(l.began); took > 2500*time.Millisecond {
						t.Errorf("stopped after %v", took)
					}
					if !strings.HasSuffix(l.text.String(), "\"last_seq\":1}\n") {
						t.Errorf("heard %s", l.heard.String())
					}

					<-ending.Done()
					late := newListener()
					if err := listen(t.Context(), late, ending, feedOptions{kind: kind, limit: -1, timeout: time.Hour}, newScripted()); err != nil {
						t.Error(err)
					}
					if !time.Now().Equal(late.began) || !strings.HasSuffix(late.text.String(), "\"last_seq\":0}\n") {
						t.Errorf("late: %s", late.heard.String())
					}
				})
			})
		}
	}
}

// A feed whose client goes away ends without a word, whether it waits or writes.
func TestFeedClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		l := newListener()
		err := listen(ctx, l, context.Background(), feedOptions{kind: feedContinuous, limit: -1, heartbeat: time.Minute}, newScripted())
		if err != nil || l.text.Len() != 0 || time.Since(l.began) != time.Second {
			t.Errorf("error %v after %v, heard %s", err, time.Since(l.began), l.heard.String())
		}

		l = newListener()
		l.fail = io.ErrClosedPipe
		s := newScripted()
		s.next = []int{1}
		if err := listen(t.Context(), l, context.Background(), feedOptions{kind: feedContinuous, limit: -1, heartbeat: time.Minute}, s); err != nil {
			t.Error(err)
		}
	})
}

// broken is a source that fails.
type broken struct{ scripted }

var errBroken = errors.New("broken")

func (*broken) round(context.Context, *feed) (bool, error) { return false, errBroken }

// An error before anything was sent is told to the client.
func TestFeedError(t *testing.T) {
	l := newListener()
	err := listen(t.Context(), l, context.Background(), feedOptions{kind: feedLongpoll, limit: -1}, &broken{})
	if !errors.Is(err, errBroken) || l.heard.Len() != 0 {
		t.Errorf("error %v, heard %q", err, l.heard.String())
	}
}

// A feed that waits has no buffer, and one that a large row has blown up is not kept.
func TestFeedBuffer(t *testing.T) {
	f := &feed{q: &request{w: &response{ResponseWriter: newListener()}}, feedOptions: feedOptions{kind: feedContinuous}}
	f.openRow()
	f.out = append(f.out, make([]byte, 8*feedBuffer)...)
	f.closeRow(nil)
	if err := f.send(true); err != nil {
		t.Fatal(err)
	}
	if f.out != nil || f.pooled != nil {
		t.Errorf("kept %d bytes", cap(f.out))
	}
	f.take()
	if cap(f.out) > 4*feedBuffer {
		t.Errorf("a buffer of %d bytes was kept", cap(f.out))
	}
	f.release()
}

// TestHalfClosed ends what is sent while the answer is on its way, and still listens. That counts as leaving, so what
// comes of the answer must not look like all of it.
func TestHalfClosed(t *testing.T) {
	n := newNode(t)
	n.must(http.MethodPut, "/db", nil)
	for _, feed := range []string{"longpoll", "continuous", "eventsource"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		r := n.request(http.MethodGet, "/db/_changes?since=now&feed="+feed, nil)
		if err := r.Write(conn); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), r)
		if err != nil {
			continue // it was left before the answer began
		}
		if text, err := io.ReadAll(answer.Body); err == nil {
			t.Errorf("%s: %q and no more", feed, text)
		}
	}
}
