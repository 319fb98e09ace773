package api

import (
	"net/http"
	"os"
	"runtime/metrics"
	"time"
)

// getSystem answers with what the process takes up. The members that CouchDB has and clients show are those of its
// virtual machine; those that have a counterpart in this one have its figures.
func getSystem(q *request) error {
	if err := q.thisNode(); err != nil {
		return err
	}
	r := readRuntime()
	uptime := int64(time.Since(q.api.started).Seconds())
	return q.reply(http.StatusOK, map[string]any{
		"uptime": uptime,
		"memory": map[string]uint64{
			"processes": r.heap, "processes_used": r.heap, "stacks": r.stacks, "idle": r.idle, "other": r.total - min(r.total, r.heap+r.stacks+r.idle),
			"total": r.total,
		},
		"run_queue":                 0,
		"process_count":             r.goroutines,
		"garbage_collection_count":  r.collections,
		"context_switches":          0,
		"os_proc_count":             0,
		"stale_proc_count":          0,
		"internal_replication_jobs": 0,
		"message_queues":            map[string]any{},
		"distribution":              map[string]any{},
	})
}

// runtimeFigures are of Go's runtime, in bytes where they are sizes.
type runtimeFigures struct {
	heap, stacks, idle, total uint64
	goroutines, collections   uint64
}

// readRuntime reads them without stopping anything.
func readRuntime() runtimeFigures {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/sched/goroutines:goroutines"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	value := func(i int) uint64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return samples[i].Value.Uint64()
	}
	return runtimeFigures{value(0), value(1), value(2), value(3), value(4), value(5)}
}

// openFiles is how many file descriptors the process has, 0 where the system does not tell.
func openFiles() int64 {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	return int64(len(names)) - 1 // without that of the folder
}
