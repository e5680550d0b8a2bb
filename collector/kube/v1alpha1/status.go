// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Types of conditions.
const (
	// ConditionApplied is whether the collector has taken the object over as it is.
	ConditionApplied = "Applied"
	// ConditionConflicted is whether something else says otherwise, and stays in force. Conflicts say what.
	ConditionConflicted = "Conflicted"
)

// Reasons of conditions.
const (
	ReasonApplied    = "Applied"
	ReasonInvalid    = "Invalid"
	ReasonRefused    = "Refused"
	ReasonConflicted = "Conflicted"
	ReasonNone       = "None"
)

// MaxConflicts is how many conflicts a status names.
const MaxConflicts = 16

// Status is what the collector says of every object.
type Status struct {
	// ObservedGeneration is the generation of the object that the status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions are Applied and Conflicted.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Coverage is Covered/Matched.
	// +optional
	Coverage string `json:"coverage,omitempty"`
	// Covered counts the running containers that are under what the object says, on nodes that are connected; Matched those
	// that it is about.
	// +optional
	Covered int64 `json:"covered"`
	// +optional
	Matched int64 `json:"matched"`
	// Signals are the mode and the state of learning of each signal; the strongest mode and the weakest state where containers
	// differ.
	// +optional
	Signals SignalStatuses `json:"signals,omitzero"`
	// Blocked and WouldBlock count deeds since the agents started.
	// +optional
	Blocked int64 `json:"blocked"`
	// +optional
	WouldBlock int64 `json:"wouldBlock"`
	// Conflicts are what says otherwise, at most 16; Conflicting counts all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Conflicts []Conflict `json:"conflicts,omitempty"`
	// +optional
	Conflicting int64 `json:"conflicting,omitempty"`
}

// ProfileStatus is the status of a HoldfastProfile.
type ProfileStatus struct {
	Status `json:",inline"`
	// OverlayVersion is the version of the overlay that the object is, EffectiveVersion that of what agents are told.
	// +optional
	OverlayVersion int64 `json:"overlayVersion,omitempty"`
	// +optional
	EffectiveVersion int64 `json:"effectiveVersion,omitempty"`
}

// PolicyStatus is the status of a HoldfastPolicy.
type PolicyStatus struct {
	Status `json:",inline"`
}

// SignalStatuses are the statuses by signal.
type SignalStatuses struct {
	// +optional
	Process *SignalStatus `json:"process,omitempty"`
	// +optional
	File *SignalStatus `json:"file,omitempty"`
	// +optional
	Egress *SignalStatus `json:"egress,omitempty"`
	// +optional
	Protect *SignalStatus `json:"protect,omitempty"`
	// +optional
	DLP *SignalStatus `json:"dlp,omitempty"`
	// +optional
	WAF *SignalStatus `json:"waf,omitempty"`
}

// SignalStatus is what holds for a signal of the containers that an object is about.
type SignalStatus struct {
	// Mode is the one in force; several are joined by a comma, the strongest first.
	// +optional
	Mode string `json:"mode,omitempty"`
	// State is how far learning is; the weakest.
	// +optional
	State string `json:"state,omitempty"`
}

// Conflict is something that says otherwise than the object and stays in force.
type Conflict struct {
	// With is the other object as Kind namespace/name, or the author of an overlay or setting.
	With string `json:"with"`
	// Message says what is in conflict, and how to solve it.
	Message string `json:"message"`
}
