// SPDX-License-Identifier: Apache-2.0

package demo

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The names in the demo's namespace.
const (
	// Workload is the Deployment that is learned and attacked, and its container.
	Workload = "shop"
	// outside is the Deployment of those that the shop, or its attacker, speaks to: a container and a Service each.
	outside  = "outside"
	bank     = "bank"
	drop     = "drop"
	bankPort = 8080
	dropPort = 8081

	// appLabel tells the pods apart.
	appLabel = "app"
	// uploads is the folder into which customers have uploaded things.
	uploads = "/uploads"
	// token is where a pod finds its token of Kubernetes.
	token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	// user is anybody but root.
	user = 65532
)

// shopScript is the service. An order is a number and what is ordered; the answer ends with the number. The mistake is in the
// line with eval: what a customer has written is read by the shell. Programs are called by their paths, for the shells of some
// busyboxes have them built in, and what is not executed is not seen as a program.
const shopScript = `exec 2>&1
pay() {
  printf 'GET / HTTP/1.0\r\n\r\n' | /bin/nc -w 5 "$1" "$2" | /bin/tail -n 1
}
order() {
  echo "$*" >> /tmp/orders
  /bin/tail -n 1 /tmp/orders
  pay "$BANK" 8080
}
while read -r number order; do
  ( eval "order $order" )
  echo "== $number"
done
`

// uploadScript puts a program where customers upload theirs.
const uploadScript = `/bin/cp /bin/busybox ` + uploads + `/helper`

// serverScript answers with one page.
const serverScript = `mkdir -p /tmp/www && echo thanks > /tmp/www/index.html && exec httpd -f -p "$PORT" -h /tmp/www`

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{
		appLabel: name, "app.kubernetes.io/name": "holdfast-demo", "app.kubernetes.io/managed-by": "holdfast",
	}}
}

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: meta(name)}
}

// service leads to a container of the Deployment outside.
func service(name string, port int32) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{
		Selector: map[string]string{appLabel: outside},
		Ports:    []corev1.ServicePort{{Name: "http", Port: port, TargetPort: intstr.FromInt32(port)}},
	}}
}

// shopObject is the Deployment that is attacked. The addresses are those of the bank and of the attacker.
func shopObject(cfg Config, bankAddress, dropAddress string) *appsv1.Deployment {
	mount := []corev1.VolumeMount{{Name: "uploads", MountPath: uploads}}
	upload := container("upload", cfg.Image, uploadScript)
	upload.VolumeMounts = mount
	shop := container(Workload, cfg.Image, shopScript)
	shop.VolumeMounts, shop.Stdin = mount, true
	shop.Env = []corev1.EnvVar{{Name: "BANK", Value: bankAddress}, {Name: "DROP", Value: dropAddress}}
	d := deployment(Workload, cfg, shop)
	spec := &d.Spec.Template.Spec
	spec.InitContainers = []corev1.Container{upload}
	spec.Volumes = []corev1.Volume{{Name: "uploads", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	// One of its own, as most pods have one; the account has no rights.
	mounted := true
	spec.AutomountServiceAccountToken = &mounted
	return d
}

// outsideObject is the Deployment of the bank and the attacker's machine.
func outsideObject(cfg Config) *appsv1.Deployment {
	servers := []corev1.Container{}
	for _, s := range []struct {
		name string
		port string
		at   int32
	}{{bank, "8080", bankPort}, {drop, "8081", dropPort}} {
		c := container(s.name, cfg.Image, serverScript)
		c.Env = []corev1.EnvVar{{Name: "PORT", Value: s.port}}
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(s.at)}},
			PeriodSeconds: 1,
		}
		servers = append(servers, c)
	}
	d := deployment(outside, cfg, servers...)
	mounted := false
	d.Spec.Template.Spec.AutomountServiceAccountToken = &mounted
	return d
}

func deployment(name string, cfg Config, containers ...corev1.Container) *appsv1.Deployment {
	replicas, now, history := int32(1), int64(0), int32(0)
	yes, id := true, int64(user)
	return &appsv1.Deployment{ObjectMeta: meta(name), Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, RevisionHistoryLimit: &history,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{appLabel: name}},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: meta(name).Labels},
			Spec: corev1.PodSpec{
				Containers: containers, TerminationGracePeriodSeconds: &now, Affinity: onNodes(cfg.Nodes),
				// What namespaces ask for that are restricted.
				SecurityContext: &corev1.PodSecurityContext{
					RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id, FSGroup: &id,
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
			},
		},
	}}
}

// onNodes keeps pods to the nodes that an agent watches.
func onNodes(names []string) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: nodeTerms(names),
	}}}
}

// nodeTerms has a term for each node: one field takes one name.
func nodeTerms(names []string) []corev1.NodeSelectorTerm {
	terms := make([]corev1.NodeSelectorTerm, 0, len(names))
	for _, name := range names {
		terms = append(terms, corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
			{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}},
		}})
	}
	return terms
}

func container(name, image, script string) corev1.Container {
	no := false
	return corev1.Container{
		Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/bin/sh", "-c", script},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
	}
}
