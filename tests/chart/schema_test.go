// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// schema is what the tests read of a JSON schema.
type schema struct {
	Type        any               `json:"type"`
	Description string            `json:"description"`
	Properties  map[string]schema `json:"properties"`
	// Additional is false, or a schema; nil when nothing is said.
	Additional json.RawMessage `json:"additionalProperties"`
	Items      *schema         `json:"items"`
	Enum       []any           `json:"enum"`
}

func valuesSchema(t *testing.T) schema {
	t.Helper()
	var s schema
	if err := json.Unmarshal([]byte(read(t, filepath.Join(load(t).Dir(), "values.schema.json"))), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// each calls f for every schema below one, with its path.
func (s schema) each(path string, f func(path string, s schema)) {
	f(path, s)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		s.Properties[name].each(strings.TrimPrefix(path+"."+name, "."), f)
	}
	if s.Items != nil && s.Items.Type == "object" {
		s.Items.each(path+"[]", f)
	}
}

// TestSchemaIsStrict checks that no mapping takes keys that nobody knows, but those whose keys are the user's.
func TestSchemaIsStrict(t *testing.T) {
	// Parts of a pod's spec or of a NetworkPolicy, which the API server checks.
	free := []string{"affinity", "podSelector", "namespaceSelector", "ipBlock", "global"}
	seen := 0
	valuesSchema(t).each("", func(path string, s schema) {
		if path != "" && s.Description == "" && !strings.HasSuffix(path, "[]") {
			t.Errorf("%s has no description", path)
		}
		if s.Type != "object" {
			return
		}
		seen++
		switch extra := string(s.Additional); {
		case extra == "false" && s.Properties != nil:
		case s.Properties == nil && strings.HasPrefix(extra, "{"):
		case slices.ContainsFunc(free, func(name string) bool {
			return path == name || strings.HasSuffix(path, "."+name) || strings.HasSuffix(path, "[]."+name)
		}):
		default:
			t.Errorf("%s takes any key: additionalProperties is %s", path, extra)
		}
	})
	if seen < 20 {
		t.Errorf("%d mappings seen", seen)
	}
}

// TestSchemaRefuses shows what a wrong value is told.
func TestSchemaRefuses(t *testing.T) {
	c := load(t)
	for _, test := range []struct {
		name, values string
		want         []string
	}{
		{"unknown key", "agnet: {}", []string{"additional properties 'agnet' not allowed"}},
		{"unknown key below", "agent: {hostnetwork: true}", []string{"at '/agent'", "'hostnetwork' not allowed"}},
		{"setting unknown to the agent", "agent: {settings: {recrod: [exec]}}", []string{"at '/agent/settings'", "'recrod' not allowed"}},
		{"setting that the chart gives", "agent: {settings: {data-dir: /x}}", []string{"'data-dir' not allowed"}},
		{"mode", "agent: {settings: {mode: block}}", []string{"at '/agent/settings/mode'", "'off', 'learn', 'monitor', 'enforce'"}},
		{"label without paths", "agent: {files: {dlp-labels: {labels: [{label: customers}]}}}", []string{"at '/agent/files/dlp-labels/labels/0'", "missing property 'paths'"}},
		{"exception of nothing", "agent: {files: {dlp-labels: {exceptions: [{}]}}}", []string{"at '/agent/files/dlp-labels/exceptions/0'", "minProperties"}},
		{"rule of another set", "agent: {files: {waf-crs-file: {exclusions: [{rule: 42}]}}}", []string{"at '/agent/files/waf-crs-file/exclusions/0/rule'", "minimum"}},
		{"core rule set for nobody", "agent: {files: {waf-crs-file: {paranoia: 2}}}", []string{"agent.files.waf-crs-file: has no meaning without agent.settings.waf-crs"}},
		{"latest", "image: {tag: latest}", []string{"at '/image/tag'", "'not' failed"}},
		{"digest", "agent: {image: {digest: sha256:12}}", []string{"at '/agent/image/digest'", "does not match pattern"}},
		{"pull policy", "image: {pullPolicy: Sometimes}", []string{"at '/image/pullPolicy'", "'IfNotPresent', 'Always', 'Never'"}},
		{"capability", "agent: {capabilities: {add: [ALL]}}", []string{"at '/agent/capabilities/add/0'", "'SYS_ADMIN'"}},
		{"capability twice", "agent: {capabilities: {add: [KILL, KILL]}}", []string{"at '/agent/capabilities/add'", "are equal"}},
		{"feature that is no boolean", "agent: {features: {nri: maybe}}", []string{"at '/agent/features/nri'", "got string, want boolean"}},
		{"memory without a unit", "agent: {resources: {limits: {memory: 512}}}", []string{"at '/agent/resources/limits/memory'", "got number, want string"}},
		{"memory in decimal units", "agent: {resources: {limits: {memory: 512M}}}", []string{"at '/agent/resources/limits/memory'", "does not match pattern"}},
		{"no limit of memory", "agent: {resources: {limits: {memory: null}}}", []string{"at '/agent/resources/limits'", "missing property 'memory'"}},
		{"port", "agent: {metrics: {port: 70000}}", []string{"at '/agent/metrics/port'", "maximum"}},
		{"relative folder", "agent: {host: {dataDir: lib/holdfast}}", []string{"at '/agent/host/dataDir'", "does not match pattern"}},
		{"the node's root", "agent: {host: {dataDir: /}}", []string{"at '/agent/host/dataDir'", "does not match pattern"}},
		{"address without a port", "agent: {collectorAddress: collector.example}", []string{"at '/agent/collectorAddress'", "does not match pattern"}},
		{"no node at a time", "agent: {updateStrategy: {maxUnavailable: 0}}", []string{"at '/agent/updateStrategy/maxUnavailable'", "minimum"}},
		{"more than all nodes", "agent: {updateStrategy: {maxUnavailable: 120%}}", []string{"at '/agent/updateStrategy/maxUnavailable'", "does not match pattern"}},
		{"switch as a boolean", "agent: {kubernetes: {mode: true}}", []string{"at '/agent/kubernetes/mode'", "want string"}},
		{"toleration", "agent: {tolerations: [{operator: Sometimes}]}", []string{"at '/agent/tolerations/0/operator'", "'Exists', 'Equal'"}},
		{"owner without resources", "agent: {kubernetes: {owners: [{apiGroup: argoproj.io}]}}", []string{"at '/agent/kubernetes/owners/0'", "missing property 'resources'"}},
		{"shared volume", "collector: {storage: {accessModes: [ReadWriteMany]}}", []string{"at '/collector/storage/accessModes/0'", "'ReadWriteOnce', 'ReadWriteOncePod'"}},
		{"size", "collector: {storage: {size: 50GB}}", []string{"at '/collector/storage/size'", "does not match pattern"}},
		{"budget", "collector: {podDisruptionBudget: {maxUnavailable: 2}}", []string{"at '/collector/podDisruptionBudget/maxUnavailable'", "maximum"}},
		{"range", "networkPolicy: {nodeCIDRs: [192.0.2.1]}", []string{"at '/networkPolicy/nodeCIDRs/0'", "does not match pattern"}},
		{"days", "collector: {settings: {alerts-keep-days: -1}}", []string{"at '/collector/settings/alerts-keep-days'", "minimum"}},
		{"patience", "cleanUp: {timeoutSeconds: 1}", []string{"at '/cleanUp/timeoutSeconds'", "minimum"}},
		{"nobody to report to", "collector: {enabled: false}", []string{"agent.collectorAddress: is needed when collector.enabled is false"}},
		{"no way to enrol outside", "{collector: {enabled: false}, agent: {collectorAddress: 'a:1'}}", []string{"agent.joinToken.secret: is needed"}},
		{"no way to enrol", "collector: {enrol: false}", []string{"collector.enrol: is false, so agents need agent.joinToken.secret"}},
		{"profile without a name", "agent: {seccompProfile: {type: Localhost}}", []string{"agent.seccompProfile.localhostProfile: is needed"}},
		{"AppArmor profile without a name", "agent: {appArmorProfile: {type: Localhost}}", []string{"agent.appArmorProfile.localhostProfile: is needed"}},
		{"both added and left out", "agent: {capabilities: {add: [KILL], omit: [KILL]}}", []string{"agent.capabilities: KILL is both in add and in omit"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.Render(values(t, test.values))
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
		})
	}
}
