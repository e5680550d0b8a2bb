// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HoldfastPolicy says in which mode workloads of its namespace run.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=holdfastpolicies,shortName=hfpol,categories=holdfast
// +kubebuilder:printcolumn:name="Process",type=string,JSONPath=`.spec.modes.process`
// +kubebuilder:printcolumn:name="File",type=string,JSONPath=`.spec.modes.file`
// +kubebuilder:printcolumn:name="Egress",type=string,JSONPath=`.spec.modes.egress`
// +kubebuilder:printcolumn:name="Protect",type=string,JSONPath=`.spec.modes.protect`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`
// +kubebuilder:printcolumn:name="Coverage",type=string,JSONPath=`.status.coverage`
// +kubebuilder:printcolumn:name="Blocked",type=integer,JSONPath=`.status.blocked`
// +kubebuilder:printcolumn:name="Would block",type=integer,JSONPath=`.status.wouldBlock`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Applied")].message`
type HoldfastPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec PolicySpec `json:"spec"`
	// Status is written by the collector.
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// HoldfastPolicyList is a list of HoldfastPolicy.
//
// +kubebuilder:object:root=true
type HoldfastPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HoldfastPolicy `json:"items"`
}

// PolicySpec is which workloads, and which modes.
type PolicySpec struct {
	// Workloads are those that it is about; all of the namespace if none are given.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Workloads []Selector `json:"workloads,omitempty"`
	// Modes say what is done about deeds that are not allowed, by signal. Protect needs no learning: it can be enforced from
	// the first minute on. A signal that is left out is decided by another source.
	// +kubebuilder:validation:XValidation:rule="has(self.process) || has(self.file) || has(self.egress) || has(self.protect) || has(self.dlp) || has(self.waf)",message="at least one of process, file, egress, protect, dlp and waf is expected"
	Modes Modes `json:"modes"`
}

// Selector selects containers by shell patterns: * is any text, ? any character, [a-z] one of a set.
type Selector struct {
	// Name is a pattern over the names of workloads, such as web or web-*.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9.*?-]|\[[a-z0-9^-]+\])+$`
	Name string `json:"name"`
	// Container is a pattern over the names of containers; every one if it is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^([a-z0-9.*?-]|\[[a-z0-9^-]+\])+$`
	Container string `json:"container,omitempty"`
}
