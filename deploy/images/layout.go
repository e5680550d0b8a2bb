// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/holdfast-project/holdfast/deploy/pack"
)

// containerdName is the annotation by which containerd names what it imports.
const containerdName = "io.containerd.image.name"

// write puts the layout and the archives of an image into a folder, each whole or not at all, and says what it is.
func (i *image) write(out string, to io.Writer) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make the folder for images: %w", err)
	}
	files, err := i.layout()
	if err != nil {
		return err
	}
	if err := replaceFolder(filepath.Join(out, i.name), files); err != nil {
		return err
	}
	fmt.Fprintf(to, "%s  %s\n", i.reference, i.index.Digest)
	for _, p := range i.platforms {
		base := filepath.Join(out, i.name+"-"+p.architecture)
		files, err := i.archive(&p)
		if err != nil {
			return err
		}
		text, err := pack.Tar(files, "", p.built)
		if err != nil {
			return err
		}
		if err := replaceFile(base+".tar", text); err != nil {
			return err
		}
		if err := replaceFile(base+".cdx.json", p.bill.content); err != nil {
			return err
		}
		fmt.Fprintf(to, "  %s.tar  %s  %s\n", base, humanize.IBytes(uint64(len(text))), p.manifest.Digest)
	}
	return nil
}

// layout is the image layout: the index under the image's name, and the bills of materials that refer to its platforms.
func (i *image) layout() ([]pack.File, error) {
	blobs := []blob{i.index, newBlob(v1.MediaTypeEmptyJSON, v1.DescriptorEmptyJSON.Data)}
	entries := []v1.Descriptor{i.named(i.index)}
	for _, p := range i.platforms {
		blobs = append(blobs, p.manifest, p.config, p.layer, p.bill, p.attached)
		entries = append(entries, p.attached.Descriptor)
	}
	return layoutFiles(entries, blobs)
}

// archive is the image layout of one architecture, with the list by which docker load knew images before layouts.
func (i *image) archive(p *platform) ([]pack.File, error) {
	files, err := layoutFiles([]v1.Descriptor{i.named(p.manifest)}, []blob{p.manifest, p.config, p.layer})
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal([]map[string]any{{
		"Config": blobPath(p.config.Digest)[1:], "RepoTags": []string{i.reference}, "Layers": []string{blobPath(p.layer.Digest)[1:]},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode docker's list: %w", err)
	}
	return append(files, pack.File{Path: "/manifest.json", Content: list, Mode: 0o644}), nil
}

// named is the descriptor by which runtimes and tools find the image under its name.
func (i *image) named(b blob) v1.Descriptor {
	d := b.Descriptor
	d.Annotations = map[string]string{containerdName: i.reference, v1.AnnotationRefName: i.tag}
	return d
}

func layoutFiles(entries []v1.Descriptor, blobs []blob) ([]pack.File, error) {
	index, err := json.Marshal(v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: entries,
	})
	if err != nil {
		return nil, fmt.Errorf("encode the index: %w", err)
	}
	header, err := json.Marshal(v1.ImageLayout{Version: v1.ImageLayoutVersion})
	if err != nil {
		return nil, fmt.Errorf("encode the layout's version: %w", err)
	}
	files := []pack.File{
		{Path: "/" + v1.ImageLayoutFile, Content: header, Mode: 0o644},
		{Path: "/" + v1.ImageIndexFile, Content: index, Mode: 0o644},
	}
	for _, b := range blobs {
		file := pack.File{Path: blobPath(b.Digest), Content: b.content, Mode: 0o644}
		if !slices.ContainsFunc(files, func(f pack.File) bool { return f.Path == file.Path }) {
			files = append(files, file)
		}
	}
	return files, nil
}

func blobPath(d digest.Digest) string {
	return "/" + v1.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// replaceFolder writes files aside and then puts them in the place of a folder.
func replaceFolder(dir string, files []pack.File) (err error) {
	aside, err := os.MkdirTemp(filepath.Dir(dir), ".images-")
	if err != nil {
		return fmt.Errorf("make a folder aside: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()
	for _, f := range files {
		name := filepath.Join(aside, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("write the layout: %w", err)
		}
		if err := os.WriteFile(name, f.Content, f.Mode.Perm()); err != nil {
			return fmt.Errorf("write the layout: %w", err)
		}
	}
	if err := os.Chmod(aside, 0o755); err != nil {
		return fmt.Errorf("write the layout: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the layout that was there: %w", err)
	}
	return os.Rename(aside, dir)
}

// replaceFile writes a file aside and then puts it in its place.
func replaceFile(name string, content []byte) error {
	aside := name + ".new"
	if err := os.WriteFile(aside, content, 0o644); err != nil {
		return err
	}
	return os.Rename(aside, name)
}
