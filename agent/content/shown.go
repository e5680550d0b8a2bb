// SPDX-License-Identifier: Apache-2.0

package content

import (
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/inspect"
	detectors "github.com/holdfast-project/holdfast/rules/dlp"
)

// What stands around a value is for the sender to choose, and may hold the value once more: the path of the request, its host,
// the name of a field. So none of it is shown before the detectors have looked at it.

const (
	// pathBytes is how much of a path is shown.
	pathBytes = 256
	// plainSegment is how long a part of a path may be that is shown where the value stood in the target in an encoding: what is
	// longer may be it.
	plainSegment = 11
)

// Shown is a finding with what the detectors find in all that stands around its values masked. Any goroutine may call it.
func (r *Reader) Shown(f Found) Found {
	f.Method, f.Host, f.Name, f.Peer.Host = r.shown(f.Method), r.shown(f.Host), r.shown(f.Name), r.shown(f.Peer.Host)
	f.Path = r.path(&f.Finding)
	if f.Reason == dlp.Attack {
		f.Masked = slices.Clone(f.Masked)
		for i, evidence := range f.Masked {
			f.Masked[i] = r.shown(evidence)
		}
	}
	return f
}

// shown is a text with what the detectors find in it masked, as it stands or without its URL encoding.
func (r *Reader) shown(text string) string {
	if masked, found := r.mask([]byte(text)); found {
		return masked
	}
	if decoded, err := url.PathUnescape(text); err == nil && len(decoded) != len(text) {
		if masked, found := r.mask([]byte(decoded)); found {
			return masked
		}
	}
	return text
}

// mask masks what the detectors find, and says whether they found anything.
func (r *Reader) mask(text []byte) (string, bool) {
	if len(text) == 0 {
		return "", false
	}
	matches := r.cfg.Matcher.Scan(nil, text)
	if len(matches) == 0 {
		return "", false
	}
	// Matches of several detectors come in any order and may overlap: of each byte the first mask counts.
	owner := make([]int, len(text))
	for i := range matches {
		for at := matches[i].Start; at < matches[i].End; at++ {
			if owner[at] == 0 {
				owner[at] = i + 1
			}
		}
	}
	return r.joined(text, owner, matches), true
}

// joined puts together what belongs to no match, and a mask for each stretch that belongs to one.
func (r *Reader) joined(text []byte, owner []int, matches []detectors.Match) string {
	var out []byte
	for at, of := range owner {
		switch {
		case of == 0:
			out = append(out, text[at])
		case at == 0 || owner[at-1] != of:
			out = r.cfg.Matcher.Mask(out, matches[of-1], text)
		}
	}
	return string(out)
}

// path is what is shown of the path of a finding's request.
func (r *Reader) path(f *dlp.Finding) string {
	if f.Reason != dlp.Content && f.Reason != dlp.Attack {
		return f.Path
	}
	text := f.Path
	if len(text) >= pathBytes {
		// What was cut off may be the rest of a value.
		text = text[:strings.LastIndexByte(text, '/')+1]
	}
	text = r.shown(text)
	if f.Part != inspect.URL.String() || !slices.ContainsFunc(f.Layers, func(l string) bool { return l != inspect.LayerURL.String() }) {
		return text
	}
	segments := strings.Split(text, "/")
	for i, s := range segments {
		if len(s) > plainSegment {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, "/")
}
