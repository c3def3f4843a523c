#!/bin/bash
# Prints the ConfigMap that podwire.yaml mounts: the network's template, with all nodes as peers, and the table of the
# nodes' subnets. Both come from the cluster, by kubectl. To be applied again when nodes come or go.
#   hack/kind/network.sh | kubectl apply -f -
set -euo pipefail
cd "$(dirname "$0")"
# NAME IP SUBNET,... for each node; the subnets are those that Kubernetes gave it, one or two.
nodes=$(kubectl get nodes -o go-template='{{range .items}}{{.metadata.name}} {{range .status.addresses}}{{if eq .type "InternalIP"}}{{.address}} {{end}}{{end}}{{range $i, $c := .spec.podCIDRs}}{{if $i}},{{end}}{{$c}}{{end}}{{"\n"}}{{end}}')
# All nodes are listed by addresses of one IP version, whichever of its two a node names first: IPv4 if any node has one.
version=6
[[ " $nodes " =~ [[:space:]][0-9]+(\.[0-9]+){3}[[:space:]] ]] && version=4
table="" peers=""
while read -r name rest; do
	subnets=${rest##* }
	[[ $subnets = */* ]] || { echo "node $name has no podCIDRs yet: try again in a moment" >&2; exit 1; }
	ip=""
	for address in ${rest% *}; do
		[[ $address = *:* ]] && of=6 || of=4
		[[ $ip || $of != "$version" ]] || ip=$address
	done
	[[ $ip ]] || { echo "node $name has no IPv$version address, by which the others are listed" >&2; exit 1; }
	table+="    $name $subnets"$'\n'
	peers+="${peers:+, }{ \"nodeIP\": \"$ip\", \"podCIDRs\": [\"${subnets//,/\", \"}\"] }"
done <<<"$nodes"
template=$(<conflist.json)
cat <<END
apiVersion: v1
kind: ConfigMap
metadata:
  name: podwire
  namespace: kube-system
data:
  nodes: |
${table%$'\n'}
  conflist.json: |
$(sed 's/^/    /' <<<"${template/\"\$PEERS\"/[$peers]}")
END
