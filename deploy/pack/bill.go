// SPDX-License-Identifier: Apache-2.0

package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
)

// Bill is the bill of materials of an image or package as CycloneDX 1.6 JSON: its programs with their digests, the Go that built them, and
// each module that is linked into one of them, as the programs themselves say.
func Bill(image string, b *Build) ([]byte, error) {
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: b.Time.Format(time.RFC3339),
		Component: &cyclonedx.Component{
			Type: cyclonedx.ComponentTypeContainer, Name: image, Version: b.Version, BOMRef: image,
			Licenses: &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
		},
	}
	var list []cyclonedx.Component
	linked := map[string]cyclonedx.Component{}
	for _, p := range b.Programs {
		sum := sha256.Sum256(p.Content)
		list = append(list, cyclonedx.Component{
			Type: cyclonedx.ComponentTypeApplication, Name: p.Name, Version: b.Version, BOMRef: "program:" + p.Name,
			Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		})
		std := strings.TrimPrefix(p.Info.GoVersion, "go")
		addModule(linked, &debug.Module{Path: "stdlib", Version: std})
		for _, m := range p.Info.Deps {
			addModule(linked, m)
		}
	}
	for _, url := range slices.Sorted(maps.Keys(linked)) {
		list = append(list, linked[url])
	}
	bom.Components = &list
	var out bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&out, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("bill of materials of %s: %w", image, err)
	}
	return out.Bytes(), nil
}

// addModule adds a module, or what replaces it, by its package URL.
func addModule(to map[string]cyclonedx.Component, m *debug.Module) {
	for m.Replace != nil {
		m = m.Replace
	}
	url := "pkg:golang/" + m.Path + "@" + m.Version
	c := cyclonedx.Component{Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, BOMRef: url, PackageURL: url}
	if m.Sum != "" {
		c.Properties = &[]cyclonedx.Property{{Name: "go.sum", Value: m.Sum}}
	}
	to[url] = c
}
