// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The file behind a descriptor.

#pragma once

#include "task.h"

// The file that a descriptor of the current task stands for now; NULL if none.
__inline struct file *file_of(__u32 fd)
{
	struct fdtable *table = READ2(current_task(), files, fdt);
	struct file *file = NULL;

	if (fd < READ1(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), READ1(table, fd) + fd);
	return file;
}
