// SPDX-License-Identifier: Apache-2.0

//go:build race

package dlp

// raced says that the race detector is on. It has pools lose some of what is put into them, so that what is taken from one
// is made anew now and then.
const raced = true
