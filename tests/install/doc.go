// SPDX-License-Identifier: Apache-2.0

// Package install tests what users install: the container images on a real containerd, and the Debian packages in a real
// Debian, which is this machine's own root file system under an overlay that goes with the test. Once more they are installed
// by the commands of docs/packages.md, in such a Debian whose first process is systemd.
//
// The tests need root. They run the programs as an image or a unit would: as the same user, with the capabilities that the
// unit or the chart grants, and no more.
package install
