package view

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

const postsDesign = `{"_id":"_design/d","views":{` +
	`"by_tag":{"map":"function(doc){ if(doc.type==='post'){ for(var i=0;i<doc.tags.length;i++) emit([doc.tags[i], doc.created], doc.votes); } }","reduce":"_sum"},` +
	`"by_author":{"map":"function(doc){ if(doc.author) emit(doc.author.name, 1); }","reduce":"_count"}}}`

// posts are documents of about 600 bytes.
func posts(n int) []string {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("community garden minutes decision proposal budget vote member organisation workflow form role article revision network harvest water energy school market season river bridge meeting agenda archived")
	word := func() string { return words[r.IntN(len(words))] }
	docs := make([]string, n)
	for i := range docs {
		var body strings.Builder
		for body.Len() < 320 {
			body.WriteString(word() + " ")
		}
		text, _ := json.Marshal(map[string]any{
			"_id": fmt.Sprintf("post-%08d", i), "author": map[string]string{"name": fmt.Sprintf("user%d", r.IntN(200)), "role": word()},
			"body": body.String(), "created": fmt.Sprintf("2026-%02d-%02dT%02d:00:00Z", 1+r.IntN(12), 1+r.IntN(28), r.IntN(24)),
			"published": r.IntN(2) == 0, "score": r.Float64() * 10, "tags": []string{word(), word(), word()}, "title": word() + " " + word(),
			"type": "post", "votes": r.IntN(1000),
		})
		docs[i] = string(text)
	}
	return docs
}

// BenchmarkBuild builds two views of JavaScript from nothing, with 20,000 documents of 600 bytes.
func BenchmarkBuild(b *testing.B) {
	const docs = 20_000
	n := newNode(b)
	n.bulk(posts(docs))
	for built := 0; b.Loop(); built++ {
		// Another signature means another index.
		b.StopTimer()
		name := fmt.Sprintf("d%d", built)
		n.put(strings.NewReplacer("_design/d", "_design/"+name, `"views":{`, fmt.Sprintf(`"views":{"lib":{"n":%d},`, built)).Replace(postsDesign))
		b.StartTimer()
		n.groups(name, "by_author", all)
	}
	b.ReportMetric(docs*float64(b.N)/b.Elapsed().Seconds(), "docs/s")
}

// BenchmarkFloor calls the same functions with documents at hand on all cores, and does nothing with what they emit.
func BenchmarkFloor(b *testing.B) {
	texts := posts(5000)
	n := newNode(b)
	n.put(postsDesign)
	program, err := n.design("d").program()
	if err != nil {
		b.Fatal(err)
	}
	emit := func(int, []byte, []byte) error { return nil }
	docs := 0
	b.SetParallelism(1)
	for b.Loop() {
		done := make(chan error)
		workers := runtime.GOMAXPROCS(0)
		for w := range workers {
			go func() {
				m, err := program.NewMapper()
				if err != nil {
					done <- err
					return
				}
				defer m.Close()
				for i := w; i < len(texts) && err == nil; i += workers {
					err = m.Map(context.Background(), nil, []byte(texts[i]), emit)
				}
				done <- err
			}()
		}
		for range workers {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		docs += len(texts)
	}
	b.ReportMetric(float64(docs)/b.Elapsed().Seconds(), "docs/s")
}

// BenchmarkQuery asks an index of 60,000 rows.
func BenchmarkQuery(b *testing.B) {
	n := newNode(b)
	n.put(postsDesign)
	n.bulk(posts(20_000))
	n.groups("d", "by_author", all)
	d := n.design("d")
	key := func(s string) []byte { return []byte(`["` + s + `"]`) }
	for name, q := range map[string]Query{
		"rows by key":  {StartKey: key("garden"), Limit: 20},
		"skip":         {Skip: 40_000, Limit: 20},
		"reduce range": {StartKey: key("budget"), EndKey: key("vote"), Limit: NoLimit},
		"group level":  {Group: 1, Limit: NoLimit},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := n.x.Open(context.Background(), n.db, d, "by_tag", UpdateTrue)
				if err != nil {
					b.Fatal(err)
				}
				if name == "rows by key" || name == "skip" {
					_, err = readRows(r, q)
				} else {
					_, err = readGroups(r, q)
				}
				if err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}

// BenchmarkEdits queries after 100 edits each.
func BenchmarkEdits(b *testing.B) {
	n := newNode(b)
	n.put(postsDesign)
	n.bulk(posts(20_000))
	n.groups("d", "by_author", all)
	d := n.design("d")
	texts := posts(100)
	var query time.Duration
	for round := 0; b.Loop(); round++ {
		edits := make([]string, len(texts))
		for i, text := range texts {
			edits[i] = strings.Replace(text, `"post-`, fmt.Sprintf(`"edit-%d-`, round), 1)
		}
		n.bulk(edits)
		start := time.Now()
		r, err := n.x.Open(context.Background(), n.db, d, "by_tag", UpdateTrue)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := readGroups(r, all); err != nil {
			b.Fatal(err)
		}
		r.Close()
		query += time.Since(start)
	}
	b.ReportMetric(float64(query.Microseconds())/float64(b.N)/1000, "ms/query")
}
