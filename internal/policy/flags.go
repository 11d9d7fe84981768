package policy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"dagster-authkit/internal/graphql"
	"dagster-authkit/internal/identity"
)

// answerFlag is a field of Dagster's schema that tells the UI what the person who looks at it may do.
type answerFlag struct {
	permission identity.Permission
	// place is what has to be selected on the field's type to know its code location; empty: it is deployment-wide.
	place string
}

// Two words that stand for one permission or another: an InstigationState is a schedule's or a sensor's.
const (
	startInstigation identity.Permission = "start instigation"
	stopInstigation  identity.Permission = "stop instigation"
)

const (
	ofOrigin      = "repositoryOrigin { repositoryLocationName }"
	ofRepository  = "repository { location { name } }"
	ofInstigation = "repositoryLocationName instigationType"
	ofSensor      = "sensorState { repositoryLocationName }"
	ofBackfill    = "assetSelection { path } partitionSet { repositoryOrigin { repositoryLocationName } }"
)

// flags are the Boolean ones of 1.10 to 1.13. canTerminate and canReset are about the state of a run or sensor alone.
var flags = map[string]answerFlag{
	"Query.canBulkTerminate":                         {terminatePipelineExecution, ""},
	"Run.hasReExecutePermission":                     {launchPipelineReexecution, ofOrigin},
	"Run.hasTerminatePermission":                     {terminatePipelineExecution, ofOrigin},
	"Run.hasDeletePermission":                        {deletePipelineRun, ofOrigin},
	"AssetNode.hasMaterializePermission":             {launchPipelineExecution, ofRepository},
	"AssetNode.hasWipePermission":                    {wipeAssets, ofRepository},
	"AssetNode.hasReportRunlessAssetEventPermission": {reportRunlessAssetEvents, ofRepository},
	"Job.hasLaunchExecutionPermission":               {launchPipelineExecution, ofRepository},
	"Job.hasLaunchReexecutionPermission":             {launchPipelineReexecution, ofRepository},
	"Pipeline.hasLaunchExecutionPermission":          {launchPipelineExecution, ofRepository},
	"Pipeline.hasLaunchReexecutionPermission":        {launchPipelineReexecution, ofRepository},
	"PartitionSet.hasLaunchBackfillPermission":       {launchPartitionBackfill, ofOrigin},
	"PartitionSet.hasCancelBackfillPermission":       {cancelPartitionBackfill, ofOrigin},
	"PartitionBackfill.hasCancelPermission":          {cancelPartitionBackfill, ofBackfill},
	"PartitionBackfill.hasResumePermission":          {launchPartitionBackfill, ofBackfill},
	"InstigationState.hasStartPermission":            {startInstigation, ofInstigation},
	"InstigationState.hasStopPermission":             {stopInstigation, ofInstigation},
	"Sensor.hasCursorUpdatePermissions":              {updateSensorCursor, ofSensor},
}

// lists are the fields that hold all of a person's permissions.
var lists = map[string]string{
	"Query.permissions":                        "",
	"WorkspaceLocationEntry.permissions":       "name",
	"WorkspaceLocationStatusEntry.permissions": "name",
}

// manifest is the one field that has flags inside of raw JSON.
const (
	manifest      = "Repository.assetManifest"
	manifestPlace = "location { name }"
)

var manifestFlags = map[string]string{
	"hasMaterializePermission":             string(launchPipelineExecution),
	"hasWipePermission":                    string(wipeAssets),
	"hasReportRunlessAssetEventPermission": string(reportRunlessAssetEvents),
}

// flagName is how Dagster calls such fields: one that the table does not know is for admins.
var flagName = regexp.MustCompile(`^has[A-Z][A-Za-z]*Permissions?$`)

// unknownFlag stands for the permission of such a field.
const unknownFlag identity.Permission = "unknown"

// Rules say which fields of answers are rewritten for the person: those that are not the same for them as for Dagster, which
// takes everybody for AuthKit. Only for people with grants is a place asked for.
func (p *Policy) Rules(id identity.Identity, schema *graphql.Schema) func(parent, field string) *graphql.Rule {
	return func(parent, field string) *graphql.Rule {
		name := parent + "." + field
		if place, is := lists[name]; is {
			return p.listRule(id, place)
		}
		if name == manifest {
			return p.manifestRule(id)
		}
		known, is := flags[name]
		if !is {
			if !flagName.MatchString(field) || !isBoolean(schema, parent, field) {
				return nil
			}
			known.permission = unknownFlag
		}
		return p.flagRule(id, known)
	}
}

func isBoolean(schema *graphql.Schema, parent, field string) bool {
	definition := schema.Raw().Types[parent]
	if definition == nil {
		return false
	}
	known := definition.Fields.ForName(field)
	return known != nil && known.Type.Elem == nil && known.Type.Name() == "Boolean"
}

// RulesOf is the same text for all people whose Rules are the same: rules depend on the roles alone, not on where they are held,
// and on the permissions that Dagster has.
func (p *Policy) RulesOf(id identity.Identity) string {
	roles := make([]string, 0, len(id.Grants))
	for _, grant := range id.Grants {
		roles = append(roles, string(grant.Role))
	}
	slices.Sort(roles)
	return fmt.Sprint(p.roles.changes.Load(), " ", id.Role, " ", strings.Join(slices.Compact(roles), " "))
}

func (p *Policy) flagRule(id identity.Identity, f answerFlag) *graphql.Rule {
	permissions := standsFor(f.permission)
	if p.hasAll(id.Role, permissions) {
		return nil
	}
	rule := &graphql.Rule{Permission: string(f.permission)}
	held := slices.ContainsFunc(permissions, func(permission identity.Permission) bool { return p.roles.Has(id.Role, permission) })
	if held || f.place != "" && p.anyGrant(id, permissions) {
		rule.Place = f.place
	}
	return rule
}

func standsFor(permission identity.Permission) []identity.Permission {
	switch permission {
	case startInstigation:
		return []identity.Permission{startSchedule, editSensor}
	case stopInstigation:
		return []identity.Permission{stopRunningSchedule, editSensor}
	}
	return []identity.Permission{permission}
}

func (p *Policy) listRule(id identity.Identity, place string) *graphql.Rule {
	all := p.roles.announced()
	if p.hasAll(id.Role, all) {
		return nil
	}
	rule := &graphql.Rule{Unnamed: !slices.ContainsFunc(all, func(permission identity.Permission) bool { return p.roles.Has(id.Role, permission) })}
	if place != "" && p.anyGrant(id, all) {
		rule.Place, rule.Unnamed = place, false
	}
	return rule
}

func (p *Policy) manifestRule(id identity.Identity) *graphql.Rule {
	permissions := []identity.Permission{launchPipelineExecution, wipeAssets, reportRunlessAssetEvents}
	if p.hasAll(id.Role, permissions) {
		return nil
	}
	rule := &graphql.Rule{Flags: manifestFlags}
	if p.anyGrant(id, permissions) {
		rule.Place = manifestPlace
	}
	return rule
}

func (p *Policy) hasAll(role identity.Role, permissions []identity.Permission) bool {
	return !slices.ContainsFunc(permissions, func(permission identity.Permission) bool { return !p.roles.Has(role, permission) })
}

// anyGrant reports whether some grant has one of the permissions.
func (p *Policy) anyGrant(id identity.Identity, permissions []identity.Permission) bool {
	return slices.ContainsFunc(id.Grants, func(g identity.Grant) bool {
		return slices.ContainsFunc(permissions, func(permission identity.Permission) bool { return p.roles.Has(g.Role, permission) })
	})
}

// Judge answers for the fields that Rules names. assets says in which code locations an asset is defined: a backfill of assets
// names them, and its schema has no way from there to their code locations. It is asked for people with grants only.
func (p *Policy) Judge(id identity.Identity, assets func(path []string) []string) graphql.Judge {
	return func(permission string, place json.RawMessage) (bool, string) {
		return p.judgeFlag(id, identity.Permission(permission), place, assets)
	}
}

// place is what any of the selections above gives.
type place struct {
	Name                   string
	RepositoryLocationName string
	InstigationType        string
	RepositoryOrigin       *place
	Repository             *place
	Location               *place
	SensorState            *place
	PartitionSet           *place
	AssetSelection         []struct{ Path []string }
}

func (p *Policy) judgeFlag(id identity.Identity, permission identity.Permission, raw json.RawMessage, assets func([]string) []string) (bool, string) {
	var at place
	if len(raw) > 0 && json.Unmarshal(raw, &at) != nil {
		at = place{} // nowhere in particular: the role everywhere decides
	}
	for _, permission := range at.narrow(permission) {
		where, located := at.where(assets)
		if !p.judge(id, permissionIn(permission, where), located).Allowed {
			return false, p.missing(id.Role, permission)
		}
	}
	return true, ""
}

// narrow tells which of the permissions that a word stands for is meant; all of them when it can't be told.
func (at place) narrow(permission identity.Permission) []identity.Permission {
	both := standsFor(permission)
	switch {
	case len(both) < 2:
		return both
	case at.InstigationType == "SCHEDULE":
		return both[:1]
	case at.InstigationType == "SENSOR":
		return both[1:]
	}
	return both
}

// where is the code location of the place, or those of all assets that it names.
func (at place) where(assets func([]string) []string) ([]Reference, Located) {
	if len(at.AssetSelection) > 0 {
		located := Located{}
		var references []Reference
		for _, asset := range at.AssetSelection {
			reference := Reference{Asset, AssetID(asset.Path)}
			references = append(references, reference)
			located[reference] = assets(asset.Path)
		}
		return references, located
	}
	for _, inner := range []*place{at.PartitionSet, at.SensorState, at.RepositoryOrigin, at.Repository, at.Location} {
		if inner != nil {
			return inner.where(assets)
		}
	}
	for _, name := range []string{at.RepositoryLocationName, at.Name} {
		if name != "" {
			return []Reference{{Location, name}}, nil
		}
	}
	return nil, nil
}

// missing says in the words of Dagster's tooltips what a button needs.
func (p *Policy) missing(held identity.Role, permission identity.Permission) string {
	if permission == "" {
		return "Your role does not allow this"
	}
	if p.roles.Custom(held) && permission != unknownFlag {
		return "Requires the " + string(permission) + " permission"
	}
	return "Requires the " + LeastRole(permission).Title() + " role"
}
