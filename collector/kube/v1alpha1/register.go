// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Names of the group and of what is in it.
const (
	Group   = "holdfast.dev"
	Version = "v1alpha1"

	ProfileKind     = "HoldfastProfile"
	ProfileResource = "holdfastprofiles"
	PolicyKind      = "HoldfastPolicy"
	PolicyResource  = "holdfastpolicies"
)

// APIVersion is what objects of the group have as their apiVersion.
const APIVersion = Group + "/" + Version

// GroupVersion is the group and version of the types of this package.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme makes the types of this package known to a scheme.
func AddToScheme(s *runtime.Scheme) {
	gv := GroupVersion()
	s.AddKnownTypes(gv, &HoldfastProfile{}, &HoldfastProfileList{}, &HoldfastPolicy{}, &HoldfastPolicyList{})
	metav1.AddToGroupVersion(s, gv)
}

// ReasonAnnotation says why an object is as it is. It becomes the reason of the overlay and of the mode settings.
const ReasonAnnotation = Group + "/reason"
