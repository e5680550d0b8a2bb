// SPDX-License-Identifier: Apache-2.0

// Package kube runs a real Kubernetes API server, and the etcd that it needs, for tests that need nothing else of a cluster:
// no kubelet, no controllers, no scheduler. Objects can be made, watched, patched and refused, tokens requested and
// reviewed; pods exist but never run.
//
//	func TestSomething(t *testing.T) {
//		server := kube.Run(t) // in a file with the build tag cluster
//		clients, err := kubernetes.NewForConfig(server.Admin())
//		…
//		server.StopAPI(t.Context()) // an API server that is away
//		server.StartAPI(t.Context())
//	}
//
// Everything listens on the loopback device, on ports that are free, with certificates of an authority made for the run;
// all files lie in one directory. The ServiceAccount admission is off, since no controller makes the accounts that it asks
// for. Close ends both programs; they also end with the process that started them.
package kube
