//! Tables over the functions, one for each kind.

use super::{Line, check, check_fails, render};

#[test]
fn case_functions_map_code_points_one_to_one() {
    check("{{upper \"aß é\"}} {{ToUpper \"a\"}} {{lower \"ÀİB\"}} {{ToLower \"A\"}}", "Aß É A àib a");
    check("{{title \"hello wORLD-foo_bar ça 1a\"}}", "Hello WORLD-Foo_bar Ça 1a");
    check("{{upper \"\\xff\"}}", "\u{fffd}");
}

#[test]
fn trimming_takes_its_arguments_in_either_order() {
    check("[{{trim \"\\t a \\n\"}}] [{{TrimSpace \" \\u00a0a\"}}]", "[a] [a]");
    check("{{Trim \"xyaxy\" \"yx\"}} {{trimAll \"yx\" \"xyaxy\"}}", "a a");
    check(
        "{{TrimLeft \"xxaxx\" \"x\"}} {{TrimRight \"xxaxx\" \"x\"}} {{TrimRight \"aéé\" \"é\"}}",
        "axx xxa a",
    );
    check("{{TrimPrefix \"xxa\" \"x\"}} {{trimPrefix \"x\" \"xxa\"}}", "xa xa");
    check(
        "{{TrimSuffix \"axx\" \"x\"}} {{trimSuffix \"x\" \"axx\"}} {{trimSuffix \"z\" \"axx\"}}",
        "ax ax axx",
    );
    check("{{Trim \"abc\" \"\"}}", "abc");
}

#[test]
fn cuts_count_bytes_and_alignment_counts_code_points() {
    check(
        "{{trunc 5 .s}} {{trunc -5 .s}} {{trunc 99 .s}} {{trunc -99 .s}}|{{trunc 0 .s}}",
        "Hello World Hello World Hello World|",
    );
    check("{{trunc -3 \"日本\"}} {{trunc 3.0 .s}}", "本 Hel");
    check(
        "{{substr 0 5 .s}} {{substr -1 3 .s}} {{substr 6 -1 .s}} {{substr 6 99 .s}}",
        "Hello Hel World World",
    );
    check(
        "{{alignLeft 3 \"日本\"}}|{{alignRight 3 \"日本\"}}|{{alignLeft 1 \"日本\"}}|{{alignRight 1 \"日本\"}}",
        "日本 | 日本|日|本",
    );
    check("{{alignLeft -1 .s}}{{alignRight 0 .s}}", "Hello World");
    check_fails("{{substr 5 3 .s}}");
    check_fails("{{substr 12 -1 .s}}");
    check_fails("{{substr -1 99 .s}}");
    check_fails("{{substr -1 -1 .s}}");
    check_fails("{{trunc \"1\" .s}}");
    check_fails("{{trunc 1.5 .s}}");
}

#[test]
fn searching_and_replacing() {
    check(
        "{{contains \"lo W\" .s}}{{hasPrefix \"He\" .s}}{{hasSuffix \"He\" .s}}{{contains \"\" .s}}",
        "truetruefalsetrue",
    );
    check(
        "{{replace \"o\" \"0\" .s}} {{Replace .s \"o\" \"0\" 1}} {{Replace .s \"o\" \"0\" 0}}",
        "Hell0 W0rld Hell0 World Hello World",
    );
    check("{{replace \"\" \"-\" \"aé\"}} {{Replace \"ab\" \"\" \"-\" 2}}", "-a-é- -a-b");
    check("{{regexReplaceAll \"(o)( ?)\" .s \"<$1${2}x>\"}}", "Hell<o x>W<ox>rld");
    check(
        "{{regexReplaceAll \"o\" .s \"$1x\"}} {{regexReplaceAll \"o\" .s \"$$\"}}",
        "Hell Wrld Hell$ W$rld",
    );
    check("{{regexReplaceAllLiteral \"(o)\" .s \"$1\"}}", "Hell$1 W$1rld");
    check("{{regexReplaceAll \"\" \"é!\" \"-\"}} {{regexReplaceAll \"a*\" \"baac\" \"-\"}}", "-é-!- -b-c-");
    check("{{.s | regexReplaceAll \"o\" \"0\"}}", "0");
    check("{{count \"o\" .s}} {{count \"\" \"é\"}} {{count \"\\\\w+\" .s}}", "2 2 2");
    check("{{$p := \"[lo]+\"}}{{regexReplaceAll $p .s \"_\"}} {{count $p .s}}", "He_ W_r_d 3");
    check_fails("{{regexReplaceAll \"[\" .s \"x\"}}");
    check_fails("{{$p := \"(\"}}{{count $p .s}}");
    check_fails("{{count 1 .s}}");
}

#[test]
fn shapes_of_text() {
    check("{{indent 2 \"a\\nb\\n\"}}|{{nindent 1 \"a\"}}", "  a\n  b\n  |\n a");
    check("{{repeat 3 \"ab\"}}{{repeat 0 \"ab\"}}", "ababab");
    check_fails("{{repeat -1 \"a\"}}");
    check_fails("{{indent -1 \"a\"}}");
    check_fails("{{repeat 999999999 \"a\"}}");
    check_fails("{{alignLeft 999999999 \"a\"}}");
}

#[test]
fn encodings_go_both_ways() {
    check(
        "{{b64enc .s}} {{b64dec \"SGVsbG8=\"}} {{b64dec \"SGVsbG8\"}} {{b64dec \"SGVs\\nbG8=\"}}",
        "SGVsbG8gV29ybGQ= Hello Hello Hello",
    );
    check(
        "{{b64dec \"SGVs!!\"}} {{b64dec \"S\"}}",
        "illegal base64 data at input byte 4 illegal base64 data at input byte 0",
    );
    check("{{urlencode \"a b&c=d/é~\"}} {{urldecode \"a+b%26%C3%a9\"}}", "a+b%26c%3Dd%2F%C3%A9~ a b&é");
    check("{{html \"<a href='x'>&\\\"\"}}", "&lt;a href=&#39;x&#39;&gt;&amp;&#34;");
    check("{{js \"<a>'\\\"\\n=é\"}}", r#"\u003Ca\u003E\'\"\u000A\u003Dé"#);
    check("{{urlquery \"a b\" 1 2}} {{html nil}} {{html 1 2}}", "a+b1+2 &lt;no value&gt; 1 2");
    check_fails("{{urldecode \"%zz\"}}");
    check_fails("{{urldecode \"%4\"}}");
}

#[test]
fn integers_are_read_leniently_and_wrap() {
    check(
        "{{int \"010\"}} {{int \"0x1f\"}} {{int \"3.75\"}} {{int 3.99}} {{int \"-.5\"}} {{int \"1e3\"}} {{int nil}}",
        "8 31 3 3 0 0 0",
    );
    check(
        "{{add 1 \"2\" 3.9}} {{add}} {{sub .n 2}} {{mul 2 \"3\" 4}} {{div 7 -2}} {{mod -7 3}}",
        "6 0 40 24 -3 -1",
    );
    check("{{max 1 \"5\" 3}} {{min 4 2.9 8}} {{add true true}}", "5 2 2");
    check(
        "{{add 9223372036854775807 1}} {{div -9223372036854775808 -1}}",
        "-9223372036854775808 -9223372036854775808",
    );
    check("{{printf \"%T %T\" (add 1) (int 1)}}", "int64 int");
    check_fails("{{div 1 0}}");
    check_fails("{{mod 1 .e}}");
    check_fails("{{sub 1}}");
    check_fails("{{int}}");
}

#[test]
fn floats_compute_in_decimals_and_print_shortest() {
    check(
        "{{addf 0.1 0.2}} {{subf 0.3 0.1}} {{mulf 1.1 1.1}} {{divf 1 3}} {{divf 10 2 4}}",
        "0.3 0.2 1.21 0.3333333333333333 1.25",
    );
    check(
        "{{mulf 1.0 1000000}} {{mulf 1 100000}} {{float64 \"1e-7\"}} {{float64 .f}}",
        "1e+06 100000 1e-07 3.75",
    );
    check("{{maxf 1 2.5 \"2\"}} {{minf 1 -2.5}} {{ceil 1.2}} {{floor -1.2}} {{addf}}", "2.5 -2.5 2 -2 0");
    check(
        "{{round 123.555555 3}} {{round 2.5 0}} {{round -2.5 0}} {{round 1234 -2}} {{round 1.24 1 .3}}",
        "123.556 3 -3 1200 1.3",
    );
    check("{{float64 \"Inf\"}} {{float64 \"-inf\"}} {{float64 \"nan\"}}", "+Inf -Inf NaN");
    check_fails("{{divf 1 0}}");
    check_fails("{{addf \"inf\" 1}}");
    check_fails("{{round 1.5 1.5}}");
    check_fails("{{round 1.5 \"1\"}}");
}

#[test]
fn sizes_and_durations_become_numbers() {
    check("{{bytes \"1.5KiB\"}} {{bytes \"10 MB\"}} {{bytes \"7\"}}", "1536 1e+07 7");
    check(
        "{{duration \"1h30m\"}} {{duration_seconds \"-1.5s\"}} {{duration \"1ns\"}} {{duration \"0\"}}",
        "5400 -1.5 1e-09 0",
    );
    check_fails("{{bytes \"x\"}}");
    check_fails("{{duration \"1\"}}");
    check_fails("{{duration 1}}");
}

#[test]
fn comparisons_keep_types_apart() {
    check("{{eq 1 1}}{{eq 1 2 1}}{{eq .n \"42\"}}{{ne .n \"1\"}}{{eq true true}}", "truetruetruetruetrue");
    check("{{lt 1 2}}{{le 2 2}}{{gt \"b\" \"a\"}}{{ge 1.5 1.5}}{{lt -1 (len .s)}}", "truetruetruetruetrue");
    check("{{eq nil nil}}{{eq .n nil}}{{eq (fromJson \"[]\") nil}}{{ne .n nil}}", "truefalsefalsetrue");
    check("{{eq (add 1 1) 2}}{{eq __timestamp__.Month 11}}", "truetrue");
    check("{{gt (float64 \"nan\") 1.0}}{{le (float64 \"nan\") 1.0}}", "truefalse");
    for failing in
        ["eq 1 1.0", "eq .n 42", "lt .n 1", "lt true false", "lt nil 1", "eq 1", "eq . .", "lt . 1", "eq . 1"]
    {
        check_fails(&format!("{{{{{failing}}}}}"));
    }
}

#[test]
fn builtins_measure_and_cut() {
    check(
        "{{len .s}} {{len (fromJson \"[1,2]\")}} {{index .s 0}} {{printf \"%c\" (index .s 0)}}",
        "11 2 72 H",
    );
    check(
        "{{slice .s 6}} {{slice .s 0 5}} {{slice (fromJson \"[1,2,3]\") 1 2}} {{slice .s}}",
        "World Hello [2] Hello World",
    );
    check("{{slice (fromJson \"[1,2,3]\") 0 1 3}} {{index .s}}", "[1] Hello World");
    check("{{print 1 2 \"a\" 3 4}} {{print \"a\" \"b\"}} {{println \"a\" 1}}", "1 2a3 4 ab a 1\n");
    for failing in [
        "len 1",
        "len nil",
        "index .s 11",
        "index .s -1",
        "index .s \"a\"",
        "index nil 1",
        "index 1 1",
        "index . 1",
        "slice .s 12",
        "slice .s 3 2",
        "slice .s 0 1 2",
        "slice 1",
        "slice .s 1 2 3 4",
        "call .s",
        "call nil",
        "len",
        "slice .s -1",
    ] {
        check_fails(&format!("{{{{{failing}}}}}"));
    }
}

#[test]
fn default_replaces_what_is_empty() {
    check(
        "{{.missing | default \"-\"}} {{default \"-\" 0}} {{default \"-\" .s}} {{default \"-\"}} {{default 1 nil}}",
        "- - Hello World - 1",
    );
    check(
        "{{default \"-\" false}} {{default \"-\" (fromJson \"{}\")}} {{default \"-\" __timestamp__.Year}}",
        "- - 2023",
    );
}

#[test]
fn json_decodes_as_in_go() {
    check("{{fromJson .j}}", "map[f:1.5 k:[1 2 map[z:y]] n:<nil>]");
    check(
        "{{fromJson \"1e21\"}} {{fromJson \"12345678\"}} {{fromJson \"true\"}} {{fromJson `\"a\"`}}",
        "1e+21 1.2345678e+07 true a",
    );
    check(
        "{{fromJson \"bad\"}} {{fromJson \"null\"}} {{fromJson \"{} x\"}} {{fromJson \"\"}}",
        "<no value> <no value> <no value> <no value>",
    );
    check("{{fromJson \"0.1\"}} {{fromJson \"123456789.123456789\"}}", "0.1 1.2345678912345679e+08");
    check_fails("{{fromJson 1}}");
}

#[test]
fn printf_formats_as_go_does() {
    check(
        "{{printf \"%v %s %q %d %t\" .s .s .s 42 true}}",
        "Hello World Hello World \"Hello World\" 42 true",
    );
    check(
        "{{printf \"%5d|%-5d|%05d|%+d|% d|%x|%X|%o|%b|%#x|%c|%U|%q\" 42 42 -42 42 42 255 255 8 5 255 65 233 65}}",
        "   42|42   |-0042|+42| 42|ff|FF|10|101|0xff|A|U+00E9|'A'",
    );
    check(
        "{{printf \"%5s|%-5s|%.2s|%5.1s|%x|% x|%X\" \"é\" \"é\" \"éab\" \"éa\" \"hi\" \"hi\" \"hi\"}}",
        "    é|é    |éa|    é|6869|68 69|6869",
    );
    check(
        "{{printf \"%f %.2f %8.3f|%-8.2f|%08.2f %e %.1e %g %G %.3g %6.0f\" 1.5 2.345 3.14159 2.5 -1.5 1500.0 1500.0 1e21 1e-7 1234.5 2.5}}",
        "1.500000 2.35    3.142|2.50    |-0001.50 1.500000e+03 1.5e+03 1e+21 1E-07 1.23e+03      2",
    );
    check("{{printf \"%*d|%-*d|%.*f|%[2]d %[1]d\" 5 42 4 7 2 3.14159}}", "   42|7   |3.14|42 5");
    check(
        "{{printf \"%d %s\" 1}} {{printf \"%d\" 1 2}} {{printf \"100%\"}} {{printf \"%%\"}}",
        "1 %!s(MISSING) 1%!(EXTRA int=2) 100%!(NOVERB) %",
    );
    check(
        "{{printf \"%d\" .n}} {{printf \"%s\" 1}} {{printf \"%d\" 1.5}} {{printf \"%z\" true}} {{printf \"%d\" nil}} {{printf \"%v\" nil}}",
        "%!d(string=42) %!s(int=1) %!d(float64=1.5) %!z(bool=true) %!d(<nil>) <nil>",
    );
    check(
        "{{printf \"%v %d %s\" (fromJson \"[1,2]\") (fromJson \"[1]\") (fromJson `[\"a\",null]`)}}",
        "[1 2] [%!d(float64=1)] [a <nil>]",
    );
    check(
        "{{printf \"%q\" \"a\\t\\\"é\\u200b\\xff\"}} {{printf \"%+q\" \"é\"}} {{printf \"%#q\" \"a\"}}",
        r#""a\t\"é\u200b\xff" "\u00e9" `a`"#,
    );
    check(
        "{{printf \"%T %T %T %T\" . (fromJson \"[]\") __timestamp__ nil}}",
        "map[string]string []interface {} time.Time <nil>",
    );
    check("{{printf \"%6.2f%%|%v|%6v|%t\" 12.345 1e6 true 1}}", " 12.35%|1e+06|  true|%!t(int=1)");
    check("{{printf \"%x %X %x\" 1.5 -0.0 3.25}}", "0x1.8p+00 -0X0P+00 0x1.ap+01");
    check_fails("{{printf 1}}");
    check_fails("{{printf}}");
}

#[test]
fn dates_are_read_and_shown_by_gos_layouts() {
    check("{{date \"2006-01-02T15:04:05.999999999Z07:00\" __timestamp__}}", "2023-11-14T22:13:20.123456789Z");
    check(
        "{{__timestamp__ | date \"Monday Jan _2 3:04PM .000 .00 06 002 __2 1/2 -0700 MST\"}}",
        "Tuesday Nov 14 10:13PM .123 .12 23 318 318 11/14 +0000 UTC",
    );
    check(
        "{{date \"2006\" 0}} {{date \"2006\" (int 86400)}} {{date \"2006\" \"x\"}} {{now.Year}}",
        "1970 1970 2027 2027",
    );
    check("{{toDate \"2006-01-02\" \"2024-03-05\" | unixEpoch}}", "1709596800");
    check(
        "{{toDate \"Jan _2, 2006 at 3:04pm (MST)\" \"feb  4, 2014 at 6:05pm (PST)\"}}",
        "2014-02-04 18:05:00 +0000 PST",
    );
    check(
        "{{toDate \"2006-01-02T15:04:05Z07:00\" \"2024-03-05T07:08:09.5+02:00\"}}",
        "2024-03-05 07:08:09.5 +0200 +0200",
    );
    check(
        "{{toDateInZone \"2006-01-02 15:04\" \"America/New_York\" \"2024-07-01 12:00\"}}",
        "2024-07-01 12:00:00 -0400 EDT",
    );
    check("{{toDateInZone \"2006-01-02\" \"Bogus/Zone\" \"2024-03-05\" | unixEpochMillis}}", "1709596800000");
    check("{{toDateInZone \"2006-01-02\" \"Asia/Tokyo\" \"2024-03-05\" | date \"15:04\"}}", "15:00");
    check("{{toDate \"05.999\" \"09.1234567891\"}}", "0000-01-01 00:00:09.123456789 +0000 UTC");
    for bad in ["2024-02-30", "2024-13-01", "x", "2024-3-5", "2024-03-05x", ""] {
        check(&format!("{{{{toDate \"2006-01-02\" \"{bad}\"}}}}"), "0001-01-01 00:00:00 +0000 UTC");
    }
    check(
        "{{toDate \"2006-002\" \"2024-366\" | date \"Jan 2\"}} {{toDate \"02/Jan/2006:15:04:05 -0700\" \"10/Oct/2000:13:55:36 -0700\" | unixEpoch}}",
        "Dec 31 971211336",
    );
}

#[test]
fn unix_times_are_told_apart_by_their_length() {
    check(
        "{{unixToTime \"19373\" | date \"2006-01-02\"}} {{unixToTime \"1700000000\" | unixEpochNanos}}",
        "2023-01-16 1700000000000000000",
    );
    check(
        "{{unixToTime \"1700000000123\" | unixEpochMillis}} {{(unixToTime \"1700000000123456\").Nanosecond}}",
        "1700000000123 123456000",
    );
    check("{{unixToTime \"1700000000123456789\" | unixEpochNanos}}", "1700000000123456789");
    check_fails("{{unixToTime \"123\"}}");
    check_fails("{{unixToTime \"abcde\"}}");
    check_fails("{{unixToTime 19373}}");
    check_fails("{{unixEpoch .s}}");
}

#[test]
fn times_have_their_methods() {
    check(
        "{{__timestamp__.Unix}} {{__timestamp__.UnixMilli}} {{__timestamp__.UnixNano}}",
        "1700000000 1700000000123 1700000000123456789",
    );
    check(
        "{{__timestamp__.Year}} {{__timestamp__.Month}} {{__timestamp__.Day}} {{__timestamp__.Weekday}} {{__timestamp__.YearDay}}",
        "2023 November 14 Tuesday 318",
    );
    check(
        "{{printf \"%d %v %s %q\" __timestamp__.Month __timestamp__.Month __timestamp__.Weekday __timestamp__.Month}}",
        "11 November Tuesday \"November\"",
    );
    check(
        "{{(__timestamp__.Add 3600000000000).Hour}} {{(__timestamp__.AddDate 0 1 17).Format \"01-02\"}}",
        "23 12-31",
    );
    check(
        "{{$d := now.Sub __timestamp__}}{{$d}} {{$d.Hours}} {{printf \"%T\" $d}}",
        "27777h46m39.876543211s 27777.777743484225 time.Duration",
    );
    check(
        "{{now.After __timestamp__}} {{now.Before __timestamp__}} {{now.Equal now}} {{(toDate \"\" \"x\").IsZero}}",
        "true false true true",
    );
    check(
        "{{(__timestamp__.Truncate 3600000000000).Format \"15:04:05\"}} {{(__timestamp__.Round 3600000000000).Format \"15:04:05\"}}",
        "22:00:00 22:00:00",
    );
    check(
        "{{int __timestamp__.Month}} {{__timestamp__.UTC.Minute}} {{__timestamp__.Month.String | upper}}",
        "11 13 NOVEMBER",
    );
    check_fails("{{__timestamp__.Nope}}");
    check_fails("{{__timestamp__.Format}}");
    check_fails("{{__timestamp__.Year 1}}");
    check_fails("{{__timestamp__.Add \"1h\"}}");
    check_fails("{{__timestamp__.Sub 1}}");
}

#[test]
fn every_function_refuses_a_wrong_count_of_arguments() {
    for name in [
        "upper",
        "trunc",
        "replace",
        "regexReplaceAll",
        "toDate",
        "fromJson",
        "unixToTime",
        "b64enc",
        "not",
        "eq",
    ] {
        check_fails(&format!("{{{{{name}}}}}"));
    }
    assert!(render("{{upper \"a\" \"b\"}}", &Line::sample()).is_err());
    assert!(render("{{__line__ 1}}", &Line::sample()).is_err());
}
