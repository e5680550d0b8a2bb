// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/holdfast-project/holdfast/rules/profile"
)

// Manifest is a profile as a HoldfastProfile in YAML, fit for Git: the same profile always gives the same bytes, one entry a
// line, and nothing in it changes by itself, such as times, counts, images and how far learning is. The error says that the
// profile is of no namespace, or does not fit into an object.
func Manifest(p *profile.Profile) (string, error) {
	if p.Key.Namespace == "" {
		return "", fmt.Errorf("%s as an object: it is of no namespace, so of nothing in Kubernetes", p.Key)
	}
	q := *p
	q.Images, q.Signals = nil, nil
	spec, err := BareSpecOf(&q)
	if err != nil {
		return "", err
	}
	w := spec.Workload
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n  namespace: %s\nspec:\n  workload: {kind: %s, name: %s, container: %s}\n",
		APIVersion, ProfileKind, strconv.Quote(ObjectName(p.Key)), strconv.Quote(p.Key.Namespace), strconv.Quote(w.Kind), strconv.Quote(w.Name), strconv.Quote(w.Container))
	// The keys of the file format are those of the spec.
	if _, entries, found := strings.Cut(string(profile.EncodeBare(&q)), "\nprocesses:\n"); found {
		b.WriteString("  processes:\n")
		for line := range strings.Lines(entries) {
			b.WriteString("  " + line)
		}
	}
	return b.String(), nil
}

// maxObjectName is how long the name of an object may be.
const maxObjectName = 253

// ObjectName is the name of the object of a key in its namespace, such as deployment.web.nginx. Keys that differ in more than
// capitals have different names: no kind and no container of Kubernetes has a dot in its name. Parts that Kubernetes would
// not take as names are rewritten, with a hash behind them.
func ObjectName(k profile.Key) string {
	name := strings.ToLower(k.Kind) + "." + k.Name + "." + k.Container
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	if len(validation.IsDNS1123Subdomain(name)) == 0 {
		return name
	}
	sum := sha256.Sum256([]byte(k.String()))
	suffix := "-" + hex.EncodeToString(sum[:4])
	return strings.Trim(plain[:min(len(plain), maxObjectName-len(suffix))], "-") + suffix
}
