package server

import (
	"os"
	"testing"
)

func TestGroupMemory(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  int64
		ok    bool
	}{
		{"another system", nil, 0, false},
		{"no bound", map[string]string{"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n"}, 0, false},
		{"version 2", map[string]string{"proc/self/cgroup": "0::/system.slice/mangrove.service\n", "sys/fs/cgroup/system.slice/mangrove.service/memory.max": "1073741824\n"}, 1 << 30, true},
		{
			"the group around is smaller",
			map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000000\n", "sys/fs/cgroup/a/memory.max": "500000\n"},
			500000, true,
		},
		{"a container", map[string]string{"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 256 << 20, true},
		{
			"version 1",
			map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "2000000\n"},
			2000000, true,
		},
		{
			"version 1 without bound",
			map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
			0, false,
		},
		{"nonsense", map[string]string{"proc/self/cgroup": "0::\nx\n::\n"}, 0, false},
	}
	for _, tt := range tests {
		got, ok := groupMemory(func(name string) ([]byte, error) {
			if text, ok := tt.files[name]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		})
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s: %d, %v", tt.name, got, ok)
		}
	}
}
