// SPDX-License-Identifier: Apache-2.0

//go:build vm

package cost

// peers are figures of other agents as shipped, and of programs that do no more than they must, counted the same way on
// 6.12 with cycles of their own (a static exec cycle of 213,000 instructions, open and close of 5,900). They are quoted, not
// measured here: what each adds to the process that is traced.
const peers = `
quoted, not measured here           exec  open+close  TCP connect  UDP connect      getppid
Falco 0.44, default rules          37500        5400         9200         3700          257
Tetragon 1.8, default              19500           0            0            0            0
Tetragon 1.8, three kprobes        35000        8200        17000            0            0
Tracee 0.24, default               80000       12300        66000         8400          557
floor: a record to a ring           1700        1300          440          800            0
floor: known and counted             300         420          650          650            0
`
