package dbname

import (
	"strings"
	"testing"
)

func TestLegal(t *testing.T) {
	tests := map[string]bool{
		"a": true, "a0_$()+-/b": true, "_users": true, "_replicator": true, "_global_changes": true,
		"folder/_replicator": true, "a/b/_users": true,
		"": false, "A": false, "0a": false, "_other": false, "aé": false, "a b": false, "/_replicator": false,
		"Folder/_replicator": false, "a.b": false,
	}
	for name, want := range tests {
		if got := Legal(name); got != want {
			t.Errorf("Legal(%q) = %v", name, got)
		}
	}
}

func TestTooLong(t *testing.T) {
	longest := strings.Repeat("a", Longest)
	if TooLong(longest + "/" + longest) {
		t.Error("the longest parts are too long")
	}
	if !TooLong("a/" + longest + "a") {
		t.Error("a part that is too long passes")
	}
}

func TestIsReplicator(t *testing.T) {
	for name, want := range map[string]bool{
		"_replicator": true, "a/_replicator": true, "replicator": false, "a_replicator": false, "_replicator/a": false, "": false,
	} {
		if got := IsReplicator(name); got != want {
			t.Errorf("IsReplicator(%q) = %v", name, got)
		}
	}
}
