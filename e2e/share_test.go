package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const allPartitions = `query Partitions {
  assetNodeOrError(assetKey: {path: ["dyn_asset"]}) { __typename ... on AssetNode { partitionKeys } }
}`

// joinedQueries reads how many queries got somebody else's answer.
var joinedQueries = regexp.MustCompile(`(?m)^dagster_authkit_queries_joined_total (\d+)`)

func (k *kit) joined() string {
	_, metrics := k.anonymous().do("GET", "/auth/metrics", "")
	found := joinedQueries.FindStringSubmatch(metrics)
	if found == nil {
		k.t.Fatalf("the metrics don't say how many queries were shared:\n%s", metrics)
	}
	return found[1]
}

// TestReadYourOwnWrite: an editor makes partitions while others ask for all partitions all the time, in the very words in
// which the editor asks after each. Whatever is shared, the editor's own partition is in the answer.
func TestReadYourOwnWrite(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"shared": nil, "--coalesce=false": {"--coalesce=false"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := start(t, options{args: args})
			ed := k.signIn("ed")
			if got := ed.graphql(allPartitions, nil); !strings.Contains(got.Body, "partitionKeys") {
				t.Fatalf("asking for the partitions: %s", got.Body)
			}
			stop := make(chan struct{})
			var polling sync.WaitGroup
			end := sync.OnceFunc(func() {
				close(stop)
				polling.Wait()
			})
			t.Cleanup(end) // before what start began is ended, also after a Fatal
			for i := range 6 {
				tab := k.signIn([]string{"vic", "larry", "ada"}[i%3])
				polling.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							tab.graphql(allPartitions, nil)
						}
					}
				})
			}
			for i := range 25 {
				key := fmt.Sprintf("own-%d-", i)
				if got := ed.addPartition(key); got.typename("addDynamicPartition") != "AddDynamicPartitionSuccess" {
					t.Fatalf("adding a partition: %s", got.Body)
				}
				if got := ed.graphql(allPartitions, nil); !strings.Contains(got.Body, `"`+key+`"`) {
					t.Errorf("after %s was made, the partitions are %s", key, got.Body)
				}
			}
			end()
			if got := k.joined(); (got == "0") != (args != nil) {
				t.Errorf("%s: %s queries were shared", name, got)
			}
		})
	}
}
