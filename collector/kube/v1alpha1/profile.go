// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// HoldfastProfile is what people allow the container of one workload to do, and what they forbid it, beside what Holdfast
// has learned of it: the overlay of its profile.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=hfp,categories=holdfast
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.workload.kind`
// +kubebuilder:printcolumn:name="Workload",type=string,JSONPath=`.spec.workload.name`
// +kubebuilder:printcolumn:name="Container",type=string,JSONPath=`.spec.workload.container`
// +kubebuilder:printcolumn:name="Applied",type=string,JSONPath=`.status.conditions[?(@.type=="Applied")].status`
// +kubebuilder:printcolumn:name="Coverage",type=string,JSONPath=`.status.coverage`
// +kubebuilder:printcolumn:name="Process",type=string,JSONPath=`.status.signals.process.mode`
// +kubebuilder:printcolumn:name="Egress",type=string,JSONPath=`.status.signals.egress.mode`
// +kubebuilder:printcolumn:name="Blocked",type=integer,JSONPath=`.status.blocked`
// +kubebuilder:printcolumn:name="Would block",type=integer,JSONPath=`.status.wouldBlock`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Applied")].message`
type HoldfastProfile struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ProfileSpec `json:"spec"`
	// Status is written by the collector.
	// +optional
	Status ProfileStatus `json:"status,omitzero"`
}

// HoldfastProfileList is a list of HoldfastProfile.
//
// +kubebuilder:object:root=true
type HoldfastProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HoldfastProfile `json:"items"`
}

// ProfileSpec is the overlay of one profile. Below the workload it has the keys of the file format of profiles.
type ProfileSpec struct {
	// Workload is the container that it is about, in the namespace of the object.
	Workload Workload `json:"workload"`
	// Modes say what is done about deeds that are not allowed, by signal. A signal that is left out is decided by another source.
	// +optional
	Modes Modes `json:"modes,omitzero"`
	// Images are those that the profile was learned from.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Images []Image `json:"images,omitempty"`
	// Signals say how far learning was when the object was written.
	// +optional
	Signals *Signals `json:"signals,omitempty"`
	// Processes are executables and what each may do.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Processes []Process `json:"processes,omitempty"`
}

// Workload names a container of a workload.
type Workload struct {
	// Kind of the top owner of the pods, such as Deployment; Pod where there is none.
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9]*$`
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Name of the owner.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.contains('/')",message="a name holds no slash; the namespace is that of the object"
	Name string `json:"name"`
	// Container is its name in the pod.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="!self.contains('/')",message="a container's name holds no slash"
	Container string `json:"container"`
}

// Mode is what is done about a deed that is not allowed: nothing, it is learned, it is reported, it is blocked and reported.
//
// +kubebuilder:validation:Enum=off;learn;monitor;enforce
type Mode string

// ContentMode is what is done about what is received: it is not read, it is counted, it is reported.
//
// +kubebuilder:validation:Enum=off;learn;monitor
type ContentMode string

// Modes are the modes by signal.
type Modes struct {
	// Process is about executables, their parents and arguments, and libraries.
	// +optional
	Process Mode `json:"process,omitempty"`
	// File is about writing, creating and deleting, and about reading what is protected.
	// +optional
	File Mode `json:"file,omitempty"`
	// Egress is about contacts, names, listening and sockets.
	// +optional
	Egress Mode `json:"egress,omitempty"`
	// Protect is about the rules that need no learning: programs that are not from the image, protected files, the metadata
	// service, raw sockets.
	// +optional
	Protect Mode `json:"protect,omitempty"`
	// DLP is about sensitive data on its way out: what is sent is read.
	// +optional
	DLP Mode `json:"dlp,omitempty"`
	// WAF is about attack payloads on their way in: what is received is read.
	// +optional
	WAF ContentMode `json:"waf,omitempty"`
}

// Image is an image that the workload has run.
type Image struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Digest string `json:"digest"`
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Reference string `json:"reference,omitempty"`
	// +optional
	FirstSeen *metav1.Time `json:"firstSeen,omitempty"`
}

// Signals say how far learning is, by signal.
type Signals struct {
	// +optional
	Process *Learning `json:"process,omitempty"`
	// +optional
	File *Learning `json:"file,omitempty"`
	// +optional
	Egress *Learning `json:"egress,omitempty"`
	// +optional
	Protect *Learning `json:"protect,omitempty"`
}

// State is how far learning is.
//
// +kubebuilder:validation:Enum=learning;stabilising;stable;partial
type State string

// Learning is how far the learning of one signal is.
type Learning struct {
	// +optional
	State State `json:"state,omitempty"`
	// Observed counts what was seen, Once what was seen once, Replicas the containers that were learned from.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Observed int64 `json:"observed,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	Once int64 `json:"once,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Replicas int64 `json:"replicas,omitempty"`
	// Since is when learning began, New when the last new entry came, Lost when events were last lost.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
	// +optional
	New *metav1.Time `json:"new,omitempty"`
	// +optional
	Lost *metav1.Time `json:"lost,omitempty"`
	// Nodes are the parts of Observed, Once and Replicas by node.
	// +optional
	// +kubebuilder:validation:MaxProperties=4096
	Nodes map[string]Observation `json:"nodes,omitempty"`
}

// Observation is what one node has observed of a signal.
type Observation struct {
	// +optional
	// +kubebuilder:validation:Minimum=0
	Observed int64 `json:"observed,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	Once int64 `json:"once,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967295
	Replicas int64 `json:"replicas,omitempty"`
}

// Source is where an executable file comes from.
//
// +kubebuilder:validation:Enum=image;upper;memory;volume
type Source string

// Process is an executable and what it may do.
//
// +kubebuilder:validation:XValidation:rule="self.path != '*' || !(has(self.sources) || has(self.parents) || has(self.arguments) || has(self.anyArguments) || has(self.remove))",message="the process * stands for every executable: it has no sources, parents or arguments, and is not removed; what is removed from every process is listed below it with remove: true"
// +kubebuilder:validation:XValidation:rule="!(has(self.anyArguments) && self.anyArguments && has(self.arguments))",message="anyArguments allows what arguments lists"
// +kubebuilder:validation:XValidation:rule="!(has(self.remove) && self.remove) || !(has(self.parents) || has(self.arguments) || has(self.anyArguments) || has(self.libraries) || has(self.files) || has(self.egress) || has(self.listen) || has(self.sockets) || has(self.capabilities))",message="a process that is removed lists nothing but sources"
type Process struct {
	// Path is the executable's canonical path in the container's root, or * for every executable.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self == '*' || self.startsWith('/')",message="must be an absolute path, or * for every executable"
	// +kubebuilder:validation:XValidation:rule="!self.contains('/../') && !self.endsWith('/..')",message="must not contain .."
	Path string `json:"path"`
	// Sources are where the file may come from; the image if none is given.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Sources []Source `json:"sources,omitempty"`
	// Remove takes the process away, or as far as it comes from the sources given.
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
	// Parents may start it: a path, (runtime) for the container's runtime, * for everybody.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Parents []Parent `json:"parents,omitempty"`
	// AnyArguments allows all arguments.
	// +optional
	AnyArguments bool `json:"anyArguments,omitempty"`
	// Arguments are the shapes of argument vectors that it may be started with.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Arguments []Argument `json:"arguments,omitempty"`
	// Libraries are files outside the image that it may map for execution.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Libraries []Library `json:"libraries,omitempty"`
	// Files are what it may do with files.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=512
	Files []File `json:"files,omitempty"`
	// Egress is whom it may contact.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Egress []Egress `json:"egress,omitempty"`
	// Listen are the ports that it may listen on.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	Listen []Port `json:"listen,omitempty"`
	// Sockets are those that it may make, beside those of UNIX, and of TCP and UDP.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Sockets []Socket `json:"sockets,omitempty"`
	// Capabilities that it may use.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Capabilities []Capability `json:"capabilities,omitempty"`
}

// Parent is an executable that may start another.
type Parent struct {
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^(\*|\(runtime\)|/.*)$`
	Path string `json:"path"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Argument is the shape of an argument vector.
type Argument struct {
	// Argv begins with the name of the program. What varies is written <n>.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2048
	// +kubebuilder:validation:items:MaxLength=4096
	Argv []string `json:"argv"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Library is a file outside the image that is mapped for execution.
type Library struct {
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`^/(([^/.][^/]*|\.|\.[^/.][^/]*|\.\.[^/]+)?/)*([^/.][^/]*|\.|\.[^/.][^/]*|\.\.[^/]+)?$`
	Path string `json:"path"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Access is something that is done with a file.
//
// +kubebuilder:validation:Enum=read;write;create;delete
type Access string

// File is a path template and what may be done there.
type File struct {
	// Path is a template: <n> stands for what varies, * as the last segment for every entry of a folder, ** for all below it.
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="must be an absolute path"
	// +kubebuilder:validation:Pattern=`^/?(([^/.][^/]*|\.|\.[^/.][^/]*|\.\.[^/]+)?/)*([^/.][^/]*|\.|\.[^/.][^/]*|\.\.[^/]+)?$`
	Path string `json:"path"`
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	Access []Access `json:"access"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Egress is somebody who may be contacted.
//
// +kubebuilder:validation:XValidation:rule="(has(self.name) ? 1 : 0) + (has(self.service) ? 1 : 0) + (has(self.workload) ? 1 : 0) + (has(self.cidr) ? 1 : 0) == 1",message="exactly one of name, service, workload and cidr is expected"
// +kubebuilder:validation:XValidation:rule="!has(self.port) || type(self.port) == string || (self.port >= 1 && self.port <= 65535)",message="port must be from 1 to 65535, or any",fieldPath=".port"
type Egress struct {
	// Name is a domain, or *. and a domain for all names below it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Service is namespace/name.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^/]+/[^/]+$`
	Service string `json:"service,omitempty"`
	// Workload is namespace/Kind/name.
	// +optional
	// +kubebuilder:validation:MaxLength=1536
	// +kubebuilder:validation:Pattern=`^[^/]+/[^/]+/[^/]+$`
	Workload string `json:"workload,omitempty"`
	// CIDR is a prefix or an address.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	CIDR string `json:"cidr,omitempty"`
	// Protocol is tcp, udp, icmp, icmpv6, sctp, dccp, udplite, a number, or any.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^(any|[a-z]+[0-9]?|[a-z]+v6|[0-9]{1,3})$`
	Protocol string `json:"protocol"`
	// Port is 1 to 65535, or any.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^any$`
	Port *intstr.IntOrString `json:"port,omitempty"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Port is something to listen on.
type Port struct {
	// +kubebuilder:validation:Enum=tcp;udp;sctp;dccp;udplite
	Protocol string `json:"protocol"`
	// Port 0 stands for one that the kernel chooses.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Socket is a socket family and kind, such as netlink and raw.
type Socket struct {
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self != 'unix'",message="unix sockets need no entry"
	Family string `json:"family"`
	// +kubebuilder:validation:MaxLength=32
	Kind string `json:"kind"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Capability is one that is used.
type Capability struct {
	// Name is in lower case, without CAP_.
	// +kubebuilder:validation:Pattern=`^[a-z0-9_]+$`
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('cap_')",message="is written without cap_"
	Name string `json:"name"`
	// +optional
	Remove bool `json:"remove,omitempty"`
	// +optional
	Seen *Seen `json:"seen,omitempty"`
}

// Seen is where an entry comes from; a person has written what has none.
type Seen struct {
	// +optional
	// +kubebuilder:validation:Enum=learned;inherited;probe;written;candidate;context
	Origin string `json:"origin,omitempty"`
	// Suspect says why a candidate is one.
	// +optional
	// +kubebuilder:validation:Enum="exec session";"not from the image";"during an incident"
	Suspect string `json:"suspect,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Author string `json:"author,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Reason string `json:"reason,omitempty"`
	// +optional
	First *metav1.Time `json:"first,omitempty"`
	// +optional
	Last *metav1.Time `json:"last,omitempty"`
	// +optional
	// +kubebuilder:validation:Minimum=0
	Count int64 `json:"count,omitempty"`
	// Replicas are how many containers showed it, by node.
	// +optional
	// +kubebuilder:validation:MaxProperties=4096
	Replicas map[string]int64 `json:"replicas,omitempty"`
}
