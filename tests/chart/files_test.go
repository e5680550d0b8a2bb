// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// filesDir is where the agent's container has the files of agent.files.
const filesDir = "/etc/holdfast"

// agentFiles are the agent's DaemonSet, and the content of the files that are mounted into it by their settings. An argument
// that names no such file, and a file that none names, are errors.
func agentFiles(t *testing.T, r *Rendered) (*appsv1.DaemonSet, map[string]string) {
	t.Helper()
	var agent *appsv1.DaemonSet
	contents := map[string]*corev1.ConfigMap{}
	for _, o := range r.Objects {
		switch x := o.Typed.(type) {
		case *appsv1.DaemonSet:
			agent = x
		case *corev1.ConfigMap:
			contents[x.Name] = x
		}
	}
	if agent == nil {
		t.Fatal("no agent")
	}
	data := map[string]string{}
	for _, m := range agent.Spec.Template.Spec.Containers[0].VolumeMounts {
		if m.MountPath != filesDir {
			continue
		}
		at := slices.IndexFunc(agent.Spec.Template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		volume := agent.Spec.Template.Spec.Volumes[at].ConfigMap
		if volume == nil || contents[volume.Name] == nil || !m.ReadOnly {
			t.Fatalf("%s is not a ConfigMap of the chart, mounted to be read", filesDir)
		}
		maps.Copy(data, contents[volume.Name].Data)
	}
	files := map[string]string{}
	for _, arg := range agent.Spec.Template.Spec.Containers[0].Args {
		setting, file, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if path.Dir(file) != filesDir {
			continue
		}
		text, mounted := data[path.Base(file)]
		if !mounted {
			t.Errorf("%s: no such file is mounted", arg)
		}
		files[setting] = text
	}
	if len(files) != len(data) {
		t.Errorf("%d files are mounted, %d are named by settings", len(data), len(files))
	}
	return agent, files
}

// TestFilesHaveTheirContent compares what is mounted with the values.
func TestFilesHaveTheirContent(t *testing.T) {
	c := load(t)
	for name, v := range sets(t) {
		r, err := c.Render(v)
		if err != nil {
			t.Fatal(err)
		}
		agent, _ := v["agent"].(map[string]any)
		want, _ := agent["files"].(map[string]any)
		_, files := agentFiles(t, r)
		got := map[string]any{}
		for setting, text := range files {
			var content map[string]any
			if err := yaml.Unmarshal([]byte(text), &content); err != nil {
				t.Fatalf("%s: %s: %v", name, setting, err)
			}
			got[setting] = content
		}
		if len(want)+len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: files have %v, the values are %v", name, got, want)
		}
		if (name == "files") != (len(got) == len(valuesSchema(t).Properties["agent"].Properties["files"].Properties)) {
			t.Errorf("%s gives %d files", name, len(got))
		}
	}
}

// TestOtherContentIsOtherPods checks that agents are replaced when a file changes, since they read it at their start.
func TestOtherContentIsOtherPods(t *testing.T) {
	c := load(t)
	seen := map[string]string{}
	for _, text := range []string{
		"{}", "agent: {files: {dlp-labels: {labels: [{label: a, paths: [/b]}]}}}", "agent: {files: {dlp-labels: {labels: [{label: a, paths: [/c]}]}}}",
	} {
		r, err := c.Render(values(t, text))
		if err != nil {
			t.Fatal(err)
		}
		agent, _ := agentFiles(t, r)
		mark := agent.Spec.Template.Annotations["holdfast.dev/files"]
		if other, twice := seen[mark]; twice {
			t.Errorf("the pods of %s are those of %s", text, other)
		}
		seen[mark] = text
	}
}
