// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the first version of Holdfast's Kubernetes objects: HoldfastProfile, which says what the container of one
// workload may do, and HoldfastPolicy, which says in which mode workloads run. It holds their Go types, from which the custom
// resource definitions and the deep copies are generated, and the conversion between a HoldfastProfile and the model of
// rules/profile, which is exact in both directions. It starts no goroutines.
//
// +kubebuilder:object:generate=true
// +groupName=holdfast.dev
package v1alpha1

//go:generate go tool -modfile=../../../.ci/crd.mod controller-gen object:headerFile=header.txt crd:maxDescLen=2000 paths=. output:crd:dir=../../../deploy/helm/holdfast/crds
