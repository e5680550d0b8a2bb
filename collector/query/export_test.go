// SPDX-License-Identifier: Apache-2.0

package query

// Routes returns method, path and role of every route.
func Routes() [][3]string {
	var all [][3]string
	for _, rt := range (&server{}).routes() {
		all = append(all, [3]string{rt.method, rt.path, string(rt.role)})
	}
	return all
}
