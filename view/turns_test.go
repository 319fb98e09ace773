package view

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var releases []func()
		for range cap(turns.slots) {
			release, err := turns.take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { _, err := turns.take(ctx); left <- err }()
		late := make(chan func())
		go func() {
			release, err := turns.take(t.Context())
			if err != nil {
				t.Error(err)
			}
			late <- release
		}()
		synctest.Wait()
		if n := turns.waiting(); n != 2 {
			t.Fatalf("%d wait", n)
		}
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		releases[0]()
		releases[0] = <-late
		if n := turns.waiting(); n != 0 {
			t.Fatalf("%d wait", n)
		}
		for _, release := range releases {
			release()
		}
		if len(turns.slots) != 0 {
			t.Fatal("a turn has not ended")
		}
	})
}
