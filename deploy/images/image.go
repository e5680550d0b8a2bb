// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	"github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/holdfast-project/holdfast/deploy/pack"
)

// image is an image for several architectures.
type image struct {
	name      string
	reference string
	tag       string
	index     blob
	platforms []platform
}

// platform is an image for one architecture.
type platform struct {
	architecture            string
	manifest, config, layer blob
	// bill is the bill of materials; attached is the manifest that makes it a referrer of the image.
	bill, attached blob
	built          time.Time
}

// blob is content with its descriptor.
type blob struct {
	v1.Descriptor
	content []byte
}

func newBlob(mediaType string, content []byte) blob {
	return blob{v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}, content}
}

func newJSON(mediaType string, value any) (blob, error) {
	content, err := json.Marshal(value)
	if err != nil {
		return blob{}, fmt.Errorf("encode %s: %w", mediaType, err)
	}
	return newBlob(mediaType, content), nil
}

// tags are what a tag may be.
var tags = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// build makes the image of a component from the folders of programs, one for each architecture.
func (c *component) build(dirs []string, prefix, tag string) (*image, error) {
	made := &image{name: c.name, tag: tag}
	var entries []v1.Descriptor
	var notes map[string]string
	for _, dir := range dirs {
		b, err := pack.Read(dir, c.programs...)
		if err != nil {
			return nil, err
		}
		if made.tag == "" {
			made.tag = b.Tag()
		}
		p, err := c.platform(b)
		if err != nil {
			return nil, fmt.Errorf("for %s: %w", b.Architecture, err)
		}
		made.platforms = append(made.platforms, *p)
		entry := p.manifest.Descriptor
		entry.Platform = &v1.Platform{OS: "linux", Architecture: b.Architecture}
		entries = append(entries, entry)
		notes = c.labels(b)
	}
	if !tags.MatchString(made.tag) {
		return nil, fmt.Errorf("%q cannot be a tag", made.tag)
	}
	made.reference = reference(prefix, c.name, made.tag)
	var err error
	made.index, err = newJSON(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: entries, Annotations: notes,
	})
	return made, err
}

// platform makes the image of one architecture.
func (c *component) platform(b *pack.Build) (*platform, error) {
	files, err := c.files(b)
	if err != nil {
		return nil, err
	}
	text, err := pack.Tar(files, "", b.Time)
	if err != nil {
		return nil, err
	}
	compressed, err := pack.Gzip(text)
	if err != nil {
		return nil, err
	}
	p := &platform{architecture: b.Architecture, layer: newBlob(v1.MediaTypeImageLayerGzip, compressed), built: b.Time}
	if p.config, err = newJSON(v1.MediaTypeImageConfig, c.config(b, digest.FromBytes(text))); err != nil {
		return nil, err
	}
	p.manifest, err = newJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: p.config.Descriptor, Layers: []v1.Descriptor{p.layer.Descriptor}, Annotations: c.labels(b),
	})
	if err != nil {
		return nil, err
	}
	return p, p.attach(c.name, b)
}

// billType is the media type of the bill of materials.
const billType = "application/vnd.cyclonedx+json"

// attach makes the bill of materials and the manifest by which registries list it as a referrer of the image.
func (p *platform) attach(name string, b *pack.Build) error {
	text, err := pack.Bill(name, b)
	if err != nil {
		return err
	}
	p.bill = newBlob(billType, text)
	subject := p.manifest.Descriptor
	p.attached, err = newJSON(v1.MediaTypeImageManifest, v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: billType,
		Config: v1.DescriptorEmptyJSON, Layers: []v1.Descriptor{p.bill.Descriptor}, Subject: &subject,
		Annotations: map[string]string{v1.AnnotationCreated: b.Time.Format(time.RFC3339)},
	})
	p.attached.ArtifactType = billType
	return err
}

// files are the files of an image.
func (c *component) files(b *pack.Build) ([]pack.File, error) {
	files := []pack.File{{Path: c.data, Mode: fs.ModeDir | 0o700, Owner: c.user}}
	if c.temp {
		files = append(files, pack.File{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777})
	}
	for _, p := range b.Programs {
		files = append(files, pack.File{Path: "/" + p.Name, Content: p.Content, Mode: 0o755})
	}
	const doc = "/usr/share/doc/holdfast/"
	for _, name := range []string{"LICENSE", "LICENSES/BSD-2-Clause.txt", "LICENSES/GPL-2.0-only.txt"} {
		licence, err := pack.FromTree(name, doc+name, 0o644)
		if err != nil {
			return nil, err
		}
		files = append(files, licence)
	}
	return files, nil
}

// config is the image's configuration.
func (c *component) config(b *pack.Build, layer digest.Digest) *v1.Image {
	owner := strconv.Itoa(c.user)
	return &v1.Image{
		Created:  &b.Time,
		Platform: v1.Platform{OS: "linux", Architecture: b.Architecture},
		Config: v1.ImageConfig{
			User: owner + ":" + owner, Entrypoint: []string{"/" + c.programs[0]}, Cmd: c.args, WorkingDir: "/",
			Env: []string{"PATH=/"}, Labels: c.labels(b),
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{layer}},
		History: []v1.History{{Created: &b.Time, CreatedBy: "make images"}},
	}
}

// labels say of an image what the common annotations of OCI ask.
func (c *component) labels(b *pack.Build) map[string]string {
	labels := map[string]string{
		v1.AnnotationTitle: c.name, v1.AnnotationDescription: c.description, v1.AnnotationLicenses: "Apache-2.0",
		v1.AnnotationVersion: b.Version, v1.AnnotationCreated: b.Time.Format(time.RFC3339),
		v1.AnnotationSource: "https://" + b.Module,
	}
	if b.Revision != "" {
		labels[v1.AnnotationRevision] = b.Revision
	}
	return labels
}
