// SPDX-License-Identifier: Apache-2.0

package dlp

import "github.com/holdfast-project/holdfast/rules/dlp"

// Detectors are a matcher's detectors as a Counter takes them: at the same places, so that matches fit.
func Detectors(m *dlp.Matcher) []Detector {
	var all []Detector
	for _, d := range m.Detectors() {
		all = append(all, Detector{
			ID: d.ID, Class: string(d.Class), Severity: severity(d.Severity), Confidence: dlp.Reported,
			Threshold: Threshold{Count: d.Threshold.Count, Distinct: d.Threshold.Distinct, Window: d.Threshold.Window},
		})
	}
	return all
}

func severity(s dlp.Severity) Severity {
	switch s {
	case dlp.Critical:
		return Critical
	case dlp.High:
		return High
	case dlp.Medium:
		return Medium
	}
	return Low
}

// Matching makes streams of the matcher for SinkConfig.Streams.
func Matching(m *dlp.Matcher) func() Stream {
	return func() Stream { return &matching{stream: m.Stream()} }
}

// matching is a stream of a matcher.
type matching struct {
	stream  *dlp.Stream
	matches []dlp.StreamMatch
	value   Value
}

// Reset is of Stream.
func (m *matching) Reset(name []byte) {
	m.stream.Reset()
	if len(name) > 0 {
		m.stream.Name(name)
	}
}

// Write is of Stream.
func (m *matching) Write(part []byte, found func(*Value)) {
	m.matches = m.stream.Write(m.matches[:0], part)
	m.tell(found)
}

// Close is of Stream.
func (m *matching) Close(found func(*Value)) {
	m.matches = m.stream.Close(m.matches[:0])
	m.tell(found)
}

func (m *matching) tell(found func(*Value)) {
	for i := range m.matches {
		match := &m.matches[i]
		m.value = Value{Detector: int(match.Detector), Hash: match.Hash, Confidence: match.Confidence, Masked: match.Masked()}
		found(&m.value)
	}
}
