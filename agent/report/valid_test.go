// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/report"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// TestValid has texts that are not UTF-8 wherever a message has texts.
func TestValid(t *testing.T) {
	alert := func(text string) *apiv1.Record {
		return &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
			Rule: "ü", Tags: []string{"a", text}, Fields: map[string]string{"nearest": text},
			Event:   &apiv1.Event{Process: &apiv1.Process{Exe: text, Ancestors: []*apiv1.Process{{Argv: []string{text}}}}},
			Finding: &apiv1.Finding{Path: text},
		}}}
	}
	m := alert("/a\xffb\xc3ü�")
	if _, err := proto.Marshal(m); err == nil {
		t.Fatal("it is encoded as it is")
	}
	report.Valid(m)
	if want := alert(`/a\xffb\xc3ü` + "�"); !proto.Equal(m, want) {
		t.Errorf("%v", m)
	}
	if _, err := proto.Marshal(m); err != nil {
		t.Error(err)
	}
}
