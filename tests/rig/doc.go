// SPDX-License-Identifier: Apache-2.0

// Package rig sets up the whole of Holdfast in a lab: a containerd of its own, a collector, an agent that watches the
// node, and the holdfast command to ask with. The end-to-end tests and the demo share it.
//
//	bin := "bin" // or a temporary directory, filled by Build(ctx, bin, rig.Programs()...)
//	r, err := rig.Start(ctx, rig.Config{Bin: bin, Record: []string{"exec"}})
//	defer r.Close()
//	pod, err := r.Lab.RunPod(ctx, lab.PodConfig{Namespace: "shop", Name: "web"})
//	alerts, err := r.Alerts(ctx, "--since", "1h")
//
// Collector and agent are the programs that users run, started as users start them, and everything is read through the
// holdfast command. Both can be killed and started again. Their data lies in the lab's directory and goes with it.
package rig
