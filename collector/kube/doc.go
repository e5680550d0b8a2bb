// SPDX-License-Identifier: Apache-2.0

// Package kube is what the collector has to do with Kubernetes: it takes over HoldfastProfile and HoldfastPolicy objects as
// overlays and modes and writes their status, publishes the certificate of the collector's authority in a ConfigMap, and
// writes an Event on the pod when something is blocked in it. It decides nothing about alerts and knows no nodes; package fleet
// does. Of an API server that is away it goes on from what it knows. Controller.Run owns every goroutine.
package kube
