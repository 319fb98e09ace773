package backup

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// manifestName is the file of a folder of backups that says that they are complete.
const manifestName = "manifest.json"

// Manifest is what a folder of backups, one for each database, says of itself.
type Manifest struct {
	Format    int       `json:"format"`
	Node      string    `json:"node"`
	Version   string    `json:"version"`
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	Databases []Saved   `json:"databases"`
}

// Saved is a backup in a file.
type Saved struct {
	Database string `json:"database"`
	File     string `json:"file"` // in a manifest, its name
	Size     int64  `json:"size"` // of the file
	Counts
	Missing   uint64 `json:"missing,omitempty"`
	UpdateSeq string `json:"update_seq"`
	Snapshot  bool   `json:"snapshot"`
	SHA256    string `json:"sha256"` // of the text, but for its last line
}

// FileName returns the name that the backup of a database has in a folder.
func FileName(db string, compress bool) string {
	// Names that begin with a point are hidden, and "." and ".." mean folders; databases' do not, but who knows.
	name := strings.ReplaceAll(url.PathEscape(db), ".", "%2E") + ".jsonl"
	if compress {
		name += ".gz"
	}
	return name
}

// Save makes a backup of a database and puts it into a file, which is there only if the backup is good: it is written
// under another name, synced, read again and checked first. What was there under the name is replaced.
func (c *Client) Save(ctx context.Context, db, path string, compress bool, o FetchOptions) (*Saved, error) {
	// Renaming would put the file in the place of a device or a pipe.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "back up to", Path: path, Err: errors.New("it is there, and not a file")}
	}
	var saved *Saved
	err := c.retry(ctx, func() (err error) {
		saved, err = c.saveOnce(ctx, db, path, compress, o)
		if err != nil && passing(err) && ctx.Err() == nil {
			c.options.Warn(fmt.Sprintf("the backup of %s begins anew: %v", db, err))
		}
		return err
	})
	return saved, err
}

func (c *Client) saveOnce(ctx context.Context, db, path string, compress bool, o FetchOptions) (_ *Saved, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".partial-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name()) // it is of no use; the error is told already
		}
	}()
	if _, err := c.FetchTo(ctx, db, f, compress, o); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	s, err := c.verify(f)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	return &Saved{
		Database: db, File: path, Size: info.Size(), Counts: s.Counts, Missing: s.Ending.Missing,
		UpdateSeq: s.Ending.UpdateSeq, Snapshot: s.Origin.Snapshot, SHA256: s.Ending.SHA256,
	}, nil
}

// FetchTo is Fetch, compressed by gzip if compress says so.
func (c *Client) FetchTo(ctx context.Context, db string, w io.Writer, compress bool, o FetchOptions) (*Summary, error) {
	if !compress {
		return c.Fetch(ctx, db, w, o)
	}
	b := bufio.NewWriterSize(w, 256<<10)
	z := gzip.NewWriter(b)
	s, err := c.Fetch(ctx, db, z, o)
	if err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return s, b.Flush()
}

// verify reads a file that was written.
func (c *Client) verify(f *os.File) (*Summary, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	in, err := openText(f)
	if err != nil {
		return nil, err
	}
	s, err := c.check(in)
	if err == nil && (s.Origin == nil || s.Ending == nil) {
		err = ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("reading again what was written: %w", err)
	}
	return s, nil
}

// check reads a backup to its end and shows how far it came.
func (c *Client) check(in *text) (*Summary, error) {
	p := c.options.Progress
	p.begin("checking", in.size)
	s, err := Verify(in, func(int64) {
		p.Done.Store(in.offset())
		p.Bytes.Store(in.offset())
	})
	return s, err
}

// text is a backup's text in a file, which may be compressed, or in a stream.
type text struct {
	r          io.Reader
	file       *os.File // nil: a stream
	size       int64    // of the file
	compressed bool
	raw        *counting
}

type counting struct {
	r io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (t *text) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && t.compressed {
		var corrupt flate.CorruptInputError
		if errors.As(err, &corrupt) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) {
			err = fmt.Errorf("%w: %w", ErrChanged, err)
		}
	}
	return n, err
}

// offset tells how much of the file was read.
func (t *text) offset() int64 { return t.raw.n }

// openText finds out whether what comes from r is compressed. A file is read from where it stands, which must be its
// beginning.
func openText(r io.Reader) (*text, error) {
	t := &text{raw: &counting{r: r}}
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			t.file, t.size = f, info.Size()
		}
	}
	b := bufio.NewReaderSize(t.raw, 256<<10)
	t.r = b
	if magic, _ := b.Peek(2); string(magic) != "\x1f\x8b" {
		return t, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChanged, err)
	}
	t.r, t.compressed = z, true
	return t, nil
}

// source is the text for a Reader that begins at its beginning.
func (t *text) source() Source {
	s := Source{R: t}
	if t.file != nil && !t.compressed {
		s.At = t.file
	}
	return s
}

// SaveAll makes backups of all databases of the node, each a file in a folder, which is made if need be. Last comes a
// manifest, so that a folder without one is known to be incomplete; one that has one already is refused.
func (c *Client) SaveAll(ctx context.Context, folder string, compress bool, o FetchOptions, done func(*Saved)) (*Manifest, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	manifest := filepath.Join(folder, manifestName)
	if _, err := os.Stat(manifest); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s has a backup already; choose another folder", folder), err)
	}
	m := &Manifest{Format: FormatVersion, Node: c.String(), Version: c.options.Version, Started: time.Now().UTC(), Databases: []Saved{}}
	names, err := c.Databases(ctx)
	if err != nil {
		return nil, err
	}
	for _, db := range names {
		if db == "_global_changes" {
			continue // a feed of what happens on the node, and nothing to restore
		}
		file := FileName(db, compress)
		s, err := c.Save(ctx, db, filepath.Join(folder, file), compress, o)
		if status(err) == http.StatusNotFound {
			c.options.Warn(fmt.Sprintf("%s was deleted meanwhile, and is left out", db))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", db, err)
		}
		done(s)
		s.File = file
		m.Databases = append(m.Databases, *s)
	}
	m.Finished = time.Now().UTC()
	return m, writeManifest(manifest, m)
}

func writeManifest(path string, m *Manifest) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".manifest-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncFolder(filepath.Dir(path))
}

// ReadManifest reads the manifest of a folder of backups.
func ReadManifest(folder string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(folder, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s: the backup did not finish, or it is not one; single files can be restored by their names", folder, manifestName)
	}
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(folder, manifestName), err)
	}
	if m.Format < 1 || m.Format > FormatVersion {
		return nil, fmt.Errorf("%w that this program knows: its version is %d", ErrFormat, m.Format)
	}
	for i := range m.Databases {
		if f := m.Databases[i].File; f != filepath.Base(f) || f == "." || f == ".." {
			return nil, fmt.Errorf("%w: the manifest names a file of another folder, %q", ErrFormat, f)
		}
	}
	return &m, nil
}
