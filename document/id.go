package document

import (
	"strings"
	"unicode/utf8"
)

// MaxIDLength is the longest document id, in bytes. It is far beyond what fits
// a request line, and small enough that any key made of an id fits the store.
const MaxIDLength = 30_000

const (
	designPrefix = "_design/"
	localPrefix  = "_local/"
)

// IsDesign reports whether id is that of a design document.
func IsDesign(id string) bool { return strings.HasPrefix(id, designPrefix) }

// IsLocal reports whether id is that of a local document, which has no history
// and is not replicated.
func IsLocal(id string) bool { return strings.HasPrefix(id, localPrefix) }

// ValidateID checks a document id by CouchDB's rules: not empty, UTF-8, and
// with a leading underscore only below _design/ and _local/.
func ValidateID(id string) error {
	switch {
	case id == "":
		return illegalID("Document id must not be empty")
	case len(id) > MaxIDLength:
		return illegalID("Document id is too long")
	case !utf8.ValidString(id):
		return illegalID("Document id must be valid UTF-8")
	case id[0] != '_':
		return nil
	case id == designPrefix || id == localPrefix:
		return illegalID("Illegal document id `" + id + "`")
	case IsDesign(id) || IsLocal(id):
		return nil
	}
	return illegalID("Only reserved document ids may start with underscore.")
}

// Partition returns the part of id before its first colon. It reports false if
// there is none, and for design and local documents, which belong to no
// partition.
func Partition(id string) (partition string, ok bool) {
	if IsDesign(id) || IsLocal(id) {
		return "", false
	}
	partition, _, ok = strings.Cut(id, ":")
	if !ok {
		return "", false
	}
	return partition, true
}

// ValidatePartition checks the name of a partition.
func ValidatePartition(partition string) error {
	switch {
	case partition == "":
		return illegalPartition("Partition must not be empty")
	case partition[0] == '_':
		return illegalPartition("Partition must not start with an underscore")
	case !utf8.ValidString(partition):
		return illegalPartition("Partition must be valid UTF-8")
	case strings.Contains(partition, ":"):
		return illegalPartition("Partition must not contain a colon")
	}
	return nil
}

// ValidatePartitionedID checks the id of a document in a partitioned database:
// besides what ValidateID asks, it must be of the form partition:key, unless
// it is that of a design or local document.
func ValidatePartitionedID(id string) error {
	if err := ValidateID(id); err != nil || IsDesign(id) || IsLocal(id) {
		return err
	}
	partition, key, ok := strings.Cut(id, ":")
	if !ok {
		return illegalID("Doc id must be of form partition:id")
	}
	if err := ValidatePartition(partition); err != nil {
		return err
	}
	return ValidateID(key)
}

// ValidateAttachmentName checks the name of an attachment: UTF-8 and without a
// leading underscore.
func ValidateAttachmentName(name string) error {
	switch {
	case strings.HasPrefix(name, "_"):
		return badRequest("Attachment name '" + name + "' starts with prohibited character '_'")
	case !utf8.ValidString(name):
		return badRequest("Attachment name is not UTF-8 encoded")
	}
	return nil
}
