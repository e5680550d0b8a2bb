// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	imagesapi "github.com/containerd/containerd/api/services/images/v1"
	typesapi "github.com/containerd/containerd/api/types"
	"google.golang.org/grpc/metadata"
)

// Image describes a container image. The same description gives the same
// digest on every machine that has the same source files.
type Image struct {
	// Name is the full reference, such as docker.io/library/nginx:1.22.
	Name string
	// Layers from the bottom up.
	Layers []Layer
	// Entrypoint and Cmd together are what a container runs by default.
	Entrypoint, Cmd []string
	// Env holds NAME=value entries. Default: PATH.
	Env []string
	// WorkingDir is where processes start. Default: /.
	WorkingDir string
	// User runs the processes, as a name of the image's passwd or a number.
	// Default: root.
	User string
}

// Layer is one file system layer. A later file replaces an earlier one of the
// same path; parent directories that are nowhere yet are made, with mode 755
// and owned by root.
type Layer struct {
	Files []File
}

// File is a directory, symbolic link or regular file of a layer.
type File struct {
	// Path is absolute and clean.
	Path string
	// Mode holds the permission bits, with fs.ModeDir for a directory and
	// fs.ModeSetuid, fs.ModeSetgid and fs.ModeSticky.
	Mode fs.FileMode
	// UID and GID own the file.
	UID, GID int
	// Link makes the file a symbolic link.
	Link string
	// Source is the path of a file on this machine, to be copied, links
	// followed. It must not change while the image is made.
	Source string
	// Content is the file's content where Source is empty.
	Content []byte
}

// Built is an image ready to be written.
type Built struct {
	// Name is the image's reference.
	Name string
	// Digest is the digest of the manifest: what a registry would call the
	// image's digest, in the form sha256:….
	Digest string
	// ConfigDigest is the digest of the configuration: what CRI calls the
	// image's id.
	ConfigDigest string
	// Size is the size of the manifest in bytes.
	Size int64

	manifest, config []byte
	layers           []blob
}

// blob is a layer as the manifest names it.
type blob struct {
	layer  Layer
	digest string
	size   int64
}

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
)

// descriptor is an OCI content descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Build computes the image's manifest and digests.
func (i Image) Build() (*Built, error) {
	if i.Name == "" || len(i.Layers) == 0 {
		return nil, fmt.Errorf("build image %q: it needs a name and a layer", i.Name)
	}
	b := &Built{Name: i.Name}
	var diffs []string
	var layers []descriptor
	lower := map[string]File{}
	for n, layer := range i.Layers {
		layer, err := layer.complete(lower)
		if err != nil {
			return nil, fmt.Errorf("build image %s: layer %d: %w", i.Name, n, err)
		}
		hash := sha256.New()
		size := &countingWriter{to: hash}
		if err := layer.write(size); err != nil {
			return nil, fmt.Errorf("build image %s: layer %d: %w", i.Name, n, err)
		}
		digest := "sha256:" + hex.EncodeToString(hash.Sum(nil))
		b.layers = append(b.layers, blob{layer, digest, size.n})
		// Uncompressed layers have one digest, not two.
		diffs = append(diffs, digest)
		layers = append(layers, descriptor{MediaType: mediaLayer, Digest: digest, Size: size.n})
	}
	var err error
	if b.config, err = json.Marshal(i.config(diffs)); err != nil {
		return nil, fmt.Errorf("build image %s: %w", i.Name, err)
	}
	b.ConfigDigest = digestOf(b.config)
	b.manifest, err = json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     mediaManifest,
		"config":        descriptor{MediaType: mediaConfig, Digest: b.ConfigDigest, Size: int64(len(b.config))},
		"layers":        layers,
	})
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", i.Name, err)
	}
	b.Digest, b.Size = digestOf(b.manifest), int64(len(b.manifest))
	return b, nil
}

// config is the OCI image configuration.
func (i Image) config(diffs []string) map[string]any {
	env := i.Env
	if len(env) == 0 {
		env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	}
	return map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Entrypoint": i.Entrypoint,
			"Cmd":        i.Cmd,
			"Env":        env,
			"WorkingDir": i.WorkingDir,
			"User":       i.User,
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	}
}

// WriteTo writes the image as the tar of an OCI image layout.
func (b *Built) WriteTo(w io.Writer) (int64, error) {
	count := &countingWriter{to: w}
	if err := b.write(count); err != nil {
		return count.n, fmt.Errorf("write image %s: %w", b.Name, err)
	}
	return count.n, nil
}

func (b *Built) write(w io.Writer) error {
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     mediaIndex,
		"manifests": []descriptor{{
			MediaType:   mediaManifest,
			Digest:      b.Digest,
			Size:        b.Size,
			Annotations: map[string]string{"io.containerd.image.name": b.Name},
		}},
	})
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index},
		{blobPath(b.Digest), b.manifest},
		{blobPath(b.ConfigDigest), b.config},
	} {
		if err := writeFile(out, f.name, f.data); err != nil {
			return err
		}
	}
	written := map[string]bool{}
	for n, l := range b.layers {
		if written[l.digest] {
			continue
		}
		written[l.digest] = true
		if err := out.WriteHeader(&tar.Header{Name: blobPath(l.digest), Mode: 0o644, Size: l.size}); err != nil {
			return err
		}
		if err := l.layer.write(out); err != nil {
			return fmt.Errorf("layer %d: %w", n, err)
		}
	}
	return out.Close()
}

// blobPath is where an image layout keeps a blob.
func blobPath(digest string) string { return "blobs/sha256/" + digest[len("sha256:"):] }

func writeFile(out *tar.Writer, name string, data []byte) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := out.Write(data)
	return err
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// complete sorts the layer by path and adds the parent directories that
// neither it nor a layer below has. lower holds the files of the layers below
// and receives the layer's own.
func (l Layer) complete(lower map[string]File) (Layer, error) {
	files := map[string]File{}
	for _, f := range l.Files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return Layer{}, fmt.Errorf("file %q: want an absolute, clean path", f.Path)
		}
		files[f.Path] = f
	}
	for _, f := range l.Files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			parent, ok := files[dir]
			if !ok {
				parent, ok = lower[dir]
			}
			if !ok {
				parent = File{Path: dir, Mode: fs.ModeDir | 0o755}
				files[dir] = parent
			}
			if !parent.Mode.IsDir() {
				return Layer{}, fmt.Errorf("file %s: its parent %s is not a directory", f.Path, dir)
			}
		}
	}
	var sorted Layer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sorted.Files = append(sorted.Files, files[name])
		lower[name] = files[name]
	}
	return sorted, nil
}

// write writes the tar of a complete layer, without times, so that it depends
// on its content alone.
func (l Layer) write(w io.Writer) error {
	out := tar.NewWriter(w)
	for _, f := range l.Files {
		if err := f.write(out); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return out.Close()
}

// write writes one entry of a layer.
func (f File) write(out *tar.Writer) error {
	header := &tar.Header{
		Name:    f.Path[1:],
		Mode:    int64(f.Mode.Perm()),
		Uid:     f.UID,
		Gid:     f.GID,
		ModTime: time.Unix(0, 0),
		Format:  tar.FormatPAX,
	}
	for _, bit := range []struct {
		mode fs.FileMode
		tar  int64
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if f.Mode&bit.mode != 0 {
			header.Mode |= bit.tar
		}
	}
	switch {
	case f.Mode.IsDir():
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		return out.WriteHeader(header)
	case f.Link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
		return out.WriteHeader(header)
	}
	header.Typeflag = tar.TypeReg
	var content io.Reader = bytes.NewReader(f.Content)
	header.Size = int64(len(f.Content))
	if f.Source != "" {
		source, err := os.Open(f.Source)
		if err != nil {
			return err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("source %s is not a regular file", f.Source)
		}
		content, header.Size = source, info.Size()
	}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}

// countingWriter counts the bytes that pass.
type countingWriter struct {
	to io.Writer
	n  int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// Import builds an image and gives it to containerd, unpacked, under its name
// and under name@digest, as if it had been pulled.
func (l *Lab) Import(ctx context.Context, image Image) error {
	b, err := image.Build()
	if err != nil {
		return err
	}
	return l.ImportBuilt(ctx, b)
}

// Load imports the images that the functions make, such as [Busybox] and
// [Nginx].
func (l *Lab) Load(ctx context.Context, images ...func() (Image, error)) error {
	for _, make := range images {
		image, err := make()
		if err != nil {
			return err
		}
		if err := l.Import(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

// ImportBuilt is Import for an image whose digests the caller has wanted to
// know.
func (l *Lab) ImportBuilt(ctx context.Context, b *Built) error {
	read, write := io.Pipe()
	ctr := exec.CommandContext(ctx, "ctr", "-a", l.Socket(), "-n", criNamespace, "images", "import", "-")
	ctr.Stdin = read
	var out bytes.Buffer
	ctr.Stdout, ctr.Stderr = &out, &out
	written := make(chan error, 1)
	go func() {
		_, err := b.WriteTo(write)
		written <- err
		write.CloseWithError(err)
	}()
	err := ctr.Run()
	// Lets the writer end when ctr has not read everything.
	read.Close()
	if writeErr := <-written; err != nil {
		if errors.Is(writeErr, io.ErrClosedPipe) {
			writeErr = nil
		}
		return errors.Join(writeErr, fmt.Errorf("import image %s: %w: %s", b.Name, err, bytes.TrimSpace(out.Bytes())))
	}
	_, err = imagesapi.NewImagesClient(l.conn).Create(inNamespace(ctx), &imagesapi.CreateImageRequest{Image: &imagesapi.Image{
		Name:   digestName(b.Name, b.Digest),
		Target: &typesapi.Descriptor{MediaType: mediaManifest, Digest: b.Digest, Size: b.Size},
	}})
	if err != nil && !alreadyThere(err) {
		return fmt.Errorf("name image %s by its digest: %w", b.Name, err)
	}
	return l.awaitImage(ctx, b)
}

// awaitImage waits until the CRI plugin, which learns of images through
// events, knows the image by both names.
func (l *Lab) awaitImage(ctx context.Context, b *Built) error {
	for {
		known, err := l.imageKnown(ctx, b)
		if known {
			return nil
		}
		if pauseErr := pause(ctx, 5*time.Millisecond); pauseErr != nil {
			return fmt.Errorf("wait for CRI to know image %s: %w", b.Name, errors.Join(err, pauseErr))
		}
	}
}

// criNamespace is containerd's namespace for what belongs to Kubernetes.
const criNamespace = "k8s.io"

// inNamespace addresses the calls made with the context to that namespace.
func inNamespace(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", criNamespace)
}

// digestName is an image's name by digest: the reference without its tag.
func digestName(name, digest string) string {
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		name = name[:colon]
	}
	return name + "@" + digest
}
