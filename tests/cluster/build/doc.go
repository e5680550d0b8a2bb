// SPDX-License-Identifier: Apache-2.0

// Package build gets the programs that a cluster is made of and used with:
// those of Kubernetes, CoreDNS and Helm, compiled from the modules that the
// folders kubernetes, coredns and helm name, and kept in the user's cache
// directory:
//
//	$XDG_CACHE_HOME/holdfast/kubernetes/v1.34.4/kube-apiserver
//
// The first build of everything takes a quarter of an hour on two idle cores;
// after that nothing is compiled again until a version changes. Nothing of it
// belongs to the product, whose go.mod never sees these modules.
package build
