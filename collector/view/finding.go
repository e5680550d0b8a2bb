// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Finding is what was found in what a container sent or received.
type Finding struct {
	// Signal is dlp or waf; Reason is why, such as content, taint, volume or dns-tunnel.
	Signal string `json:"signal"`
	Reason string `json:"reason"`
	// Detector found it, of a class such as card, key or injection, and is as sure as Confidence, of a hundred.
	Detector   string `json:"detector,omitempty"`
	Class      string `json:"class,omitempty"`
	Confidence uint32 `json:"confidence,omitempty"`
	// Found is how many, Distinct how many different ones.
	Found    uint64 `json:"found,omitempty"`
	Distinct uint64 `json:"distinct,omitempty"`
	// Masked are examples, Hashes their keyed hashes, 16 hexadecimal digits, in the same order.
	Masked []string `json:"masked,omitempty"`
	Hashes []string `json:"hashes,omitempty"`
	// Direction is outbound or inbound, as the bytes went; Accepted says that the other end opened the connection. Source is
	// how it was read: packet, openssl, gnutls, nss or go.
	Direction string `json:"direction,omitempty"`
	Accepted  bool   `json:"accepted,omitempty"`
	Source    string `json:"source,omitempty"`
	// Application is the protocol, Part what of the message, Name the header or field, Layers what was unwrapped to find it,
	// outermost first.
	Application string   `json:"application,omitempty"`
	Part        string   `json:"part,omitempty"`
	Name        string   `json:"name,omitempty"`
	Layers      []string `json:"layers,omitempty"`
	// Method, Host and Path are of a request.
	Method string `json:"method,omitempty"`
	Host   string `json:"host,omitempty"`
	Path   string `json:"path,omitempty"`
	// Bytes is how many it is about, File the file that was read before or sent, Evidence the text that shows an attack.
	Bytes    uint64 `json:"bytes,omitempty"`
	File     string `json:"file,omitempty"`
	Evidence string `json:"evidence,omitempty"`
	// Score is what the rules of the core rule set gave the request together, where they found the attack.
	Score uint32 `json:"score,omitempty"`
}

func newFinding(f *apiv1.Finding) *Finding {
	if f == nil {
		return nil
	}
	hashes := make([]string, 0, len(f.GetHashes()))
	for _, h := range f.GetHashes() {
		hashes = append(hashes, fmt.Sprintf("%016x", h))
	}
	return &Finding{
		Signal: f.GetSignal(), Reason: f.GetReason(), Detector: f.GetDetector(), Class: f.GetClass(), Confidence: f.GetConfidence(),
		Found: f.GetFound(), Distinct: f.GetDistinct(), Masked: f.GetMasked(), Hashes: hashes,
		Direction: f.GetDirection(), Accepted: f.GetAccepted(), Source: f.GetSource(),
		Application: f.GetApplication(), Part: f.GetPart(), Name: f.GetName(), Layers: f.GetLayers(),
		Method: f.GetMethod(), Host: f.GetHost(), Path: f.GetPath(),
		Bytes: f.GetBytes(), File: f.GetFile(), Evidence: f.GetEvidence(), Score: f.GetScore(),
	}
}
