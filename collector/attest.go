// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"fmt"

	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/kube"
	"github.com/holdfast-project/holdfast/collector/kube/review"
)

// newAttester makes what asks the Kubernetes API server about ServiceAccount tokens; nil where none are taken.
func newAttester(cfg Config) (authority.Attester, error) {
	if cfg.KubernetesEnrol == "" {
		return nil, nil
	}
	connection, err := kube.Connect(kube.On, cfg.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("enrolment with ServiceAccount tokens, for which --kubernetes-enrol asks: %w", err)
	}
	attester, err := review.New(review.Config{API: connection.Config, Account: cfg.KubernetesEnrol, Audience: cfg.KubernetesAudience})
	if err != nil {
		return nil, fmt.Errorf("--kubernetes-enrol, --kubernetes-audience: %w", err)
	}
	return attester, nil
}
