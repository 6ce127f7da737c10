package proto

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The specification is held to the constants and the structs, so that neither
// changes without the other.

// specTable is the first table in spec.md whose header starts with the columns
// given, below the heading given ("" for anywhere).
func specTable(t *testing.T, heading string, columns ...string) (rows [][]string) {
	t.Helper()
	b, err := os.ReadFile("spec.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(b), heading)
	header := "| " + strings.Join(columns, " | ") + " |"
	_, text, found2 := strings.Cut(text, "\n"+header)
	if !found || !found2 {
		t.Fatalf("no table %q under %q", header, heading)
	}
	for line := range strings.Lines(text[strings.Index(text, "\n")+1:]) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows = append(rows, cells(line))
	}
	return rows[1:] // without the line of dashes
}

func cells(line string) (list []string) {
	line = strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|")
	for c := range strings.SplitSeq(line, "|") {
		list = append(list, strings.TrimSpace(c))
	}
	return list
}

func equalRows(t *testing.T, what string, got [][]string, want map[string]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d rows, want %d", what, len(got), len(want))
	}
	for _, row := range got {
		if want[row[0]] != row[1] {
			t.Errorf("%s: %s is %s, want %s", what, row[0], row[1], want[row[0]])
		}
	}
}

func TestSpecTypes(t *testing.T) {
	want := map[string]string{}
	for typ := range Type(255) {
		if newMessage(typ) != nil {
			want[fmt.Sprint(uint8(typ))] = typ.String()
		}
	}
	equalRows(t, "types", specTable(t, "### 4.1", "type", "message"), want)
}

func TestSpecCodes(t *testing.T) {
	want := map[string]string{}
	for c, name := range map[Code]string{
		CodeOK: "OK", CodeOffline: "Offline", CodeRefused: "Refused", CodeTimeout: "Timeout", CodeBusy: "Busy", CodeProtocol: "Protocol",
		CodeReplaced: "Replaced", CodeShutdown: "Shutdown", CodeNotAuthorised: "NotAuthorised", CodeNotExposed: "NotExposed",
		CodeDialFailed: "DialFailed", CodeNoSession: "NoSession", CodeEnded: "Ended", CodeUnreachable: "Unreachable",
		CodeNotStored: "NotStored",
	} {
		want[fmt.Sprint(uint16(c))] = name
	}
	equalRows(t, "codes", specTable(t, "### 4.3", "code", "name"), want)
	if next := Code(len(want)).String(); !strings.HasPrefix(next, "code ") {
		t.Errorf("code %q is not in this test", next)
	}
}

func TestSpecLimits(t *testing.T) {
	want := map[string]string{}
	for name, v := range map[string]int{
		"MaxPayload": MaxPayload, "MaxHostCandidates": MaxHostCandidates, "MaxCandidates": MaxCandidates, "MaxAnswersFor": MaxAnswersFor,
		"MaxProbePorts": MaxProbePorts, "MaxText": MaxText, "MaxTarget": MaxTarget, "MaxChunk": MaxChunk, "MaxUnproven": MaxUnproven,
		"KeepaliveMax": int(KeepaliveMax / time.Second), "ServerIdle": int(ServerIdle / time.Second), "PreambleDeadline": int(PreambleDeadline / time.Second),
		"MaxWait": int(MaxWait / time.Second), "MaxNATSamples": MaxNATSamples,
	} {
		want[name] = fmt.Sprint(v)
	}
	equalRows(t, "limits", specTable(t, "## 10.", "name", "value"), want)
}

func TestSpecNATValues(t *testing.T) {
	for _, v := range natValues() {
		want := map[string]string{}
		for n := uint8(1); n < v.count; n++ {
			want[fmt.Sprint(n)] = v.name(n)
		}
		equalRows(t, v.column, specTable(t, "#### NATReport\n", v.column, "name", "meaning"), want)
	}
}

func TestSpecDialBackOrigins(t *testing.T) {
	equalRows(t, "origins", specTable(t, "### 5.5", "from", "name", "the SYN comes from"), map[string]string{
		fmt.Sprint(FromOtherPort): "OtherPort", fmt.Sprint(FromAlternate): "Alternate", fmt.Sprint(FromSilent): "Silent", fmt.Sprint(FromClosed): "Closed",
	})
}

func TestSpecNames(t *testing.T) {
	quoted := func(s string) string { return "`" + s + "`" }
	equalRows(t, "ALPN", specTable(t, "### 3.2", "connection", "ALPN"), map[string]string{
		"client to server": quoted(ALPNServer), "peer to peer": quoted(ALPNPeer),
	})
	for i, row := range specTable(t, "### 3.2", "label", "use") {
		if want := quoted([]string{ExporterLabel, SessionKeyLabel}[i]); row[0] != want {
			t.Errorf("label %s, want %s", row[0], want)
		}
	}
}

func TestSpecLayoutSizes(t *testing.T) {
	for heading, want := range map[string]int{"### 2.1": idRawLen, "## 7.": PreambleSize, "## 8.": AttachSize} {
		end := 0
		for _, row := range specTable(t, heading, "offset", "size", "field") {
			var offset, size int
			fmt.Sscan(row[0], &offset)
			fmt.Sscan(row[1], &size)
			if offset != end {
				t.Errorf("%s: offset %d, want %d", heading, offset, end)
			}
			end = offset + size
		}
		if end != want {
			t.Errorf("%s: %d bytes, want %d", heading, end, want)
		}
	}
}

func TestSpecFields(t *testing.T) {
	structs := []any{Transcript{}, Party{}, NATReport{}}
	for typ := range Type(255) {
		if m := newMessage(typ); m != nil {
			structs = append(structs, reflect.ValueOf(m).Elem().Interface())
		}
	}
	for _, s := range structs {
		typ := reflect.TypeOf(s)
		rows := specTable(t, "#### "+typ.Name()+"\n", "key", "field", "type", "required", "rule")
		if len(rows) != typ.NumField() {
			t.Errorf("%s: %d fields, want %d", typ.Name(), len(rows), typ.NumField())
			continue
		}
		for i, row := range rows {
			if want := fieldRow(typ.Field(i)); !reflect.DeepEqual(row[:4], want) {
				t.Errorf("%s: %q, want %q", typ.Name(), row[:4], want)
			}
		}
	}
}

func fieldRow(f reflect.StructField) []string {
	tag := strings.Split(f.Tag.Get("cbor"), ",")
	required := "yes"
	if len(tag) == 3 && tag[2] == "omitempty" {
		required = "no"
	}
	return []string{tag[0], f.Name, specType(f.Type), required}
}

func specType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Candidate]():
		return "candidate"
	case reflect.TypeFor[Party]():
		return "party"
	case reflect.TypeFor[*NATReport]():
		return "NAT report"
	case reflect.TypeFor[[]byte](), reflect.TypeFor[ByteString]():
		return "bytes"
	case reflect.TypeFor[string]():
		return "text"
	case reflect.TypeFor[bool]():
		return "bool"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "[" + specType(t.Elem()) + "]"
	case reflect.Array:
		return fmt.Sprintf("bytes %d", t.Len())
	case reflect.Int16:
		return fmt.Sprintf("int %d", t.Bits())
	}
	return fmt.Sprintf("uint %d", t.Bits())
}
