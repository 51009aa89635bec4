# shellcheck shell=bash
# bash completion for bulkhead(1). It reads the program's own --help at each call, and so offers
# what the installed version takes. Needs awk; works with and without the bash-completion package.

# Rows of a help text: "command<TAB>NAME<TAB>what follows it" and "option<TAB>-s<TAB>--long<TAB>VALUE".
_bulkhead_rows()
{
    "$@" --help 2>/dev/null | awk '
        /^Commands:/ { commands = 1; next }
        /^$/ { commands = 0 }
        /^  [a-z]/ || /^  (    )?-/ { # a line that goes on stands further in
            sub(/^ +/, ""); sub(/   *[^ ].*$/, ""); short = ""
            if ($1 ~ /^-[a-zA-Z],$/) { short = substr($1, 1, 2); sub(/^-.,  */, "") }
            if ($1 ~ /^--/) { print "option\t" short "\t" $1 "\t" $2 }
            else if (commands) { print "command\t" $1 "\t" $2 }
        }'
}

# The value that the option $1 takes by the rows $2, such as FILE; nothing when it takes none.
_bulkhead_value()
{
    awk -F '\t' -v name="$1" '$1 == "option" && ($2 == name || $3 == name) { print $4 }' <<<"$2"
}

_bulkhead_offer()
{
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

_bulkhead_files()
{
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

# What stands after a command: FILE, a choice such as a|b, the name of a reason, or nothing.
_bulkhead_argument()
{
    case $1 in
    FILE* | PATH*) _bulkhead_files "$3" ;;
    NAME*) _bulkhead_offer "$("$2" reasons 2>/dev/null | awk '{ print $1 }')" "$3" ;;
    *"|"*) _bulkhead_offer "${1//|/ }" "$3" ;;
    esac
}

_bulkhead()
{
    local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local -a path=("$program")
    local rows argument="" word skip="" i value
    COMPREPLY=()
    # readline takes "--config=x" apart.
    if [ "$current" = = ]; then
        current=""
    elif [ "$previous" = = ]; then
        previous=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    rows=$(_bulkhead_rows "$program")
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [ -n "$skip" ]; then
            [ "$word" = = ] || skip=""
        elif [ -n "$(_bulkhead_value "$word" "$rows")" ]; then
            skip=yes
        elif value=$(grep -m 1 "^command"$'\t'"$word"$'\t' <<<"$rows"); then
            argument=$(awk -F '\t' -v name="$word" \
                '$1 == "command" && $2 == name && $3 !~ /^-/ { print $3 }' <<<"$rows")
            path+=("$word")
            # A command of `ctl` has no help of its own: its options stand in its rows.
            [ ${#path[@]} -gt 2 ] || rows=$(_bulkhead_rows "${path[@]}")
        elif [ ${#path[@]} -lt 3 ] && [ "${word:0:1}" != - ] && grep -q '^command' <<<"$rows"; then
            return # no such command
        fi
    done
    value=$(_bulkhead_value "$previous" "$rows")
    if [ -n "$value" ]; then
        case $value in
        FILE | PATH | DIR*) _bulkhead_files "$current" ;;
        esac
        return
    fi
    if [ "${current:0:1}" = - ]; then
        _bulkhead_offer "$(awk -F '\t' -v name="${path[2]}" '
            $1 == "option" { print $2, $3 }
            $1 == "command" && $2 == name && $3 ~ /^-/ { print $3 }' <<<"$rows")" "$current"
    elif [ ${#path[@]} -gt 2 ]; then
        _bulkhead_argument "$argument" "$program" "$current"
    elif grep -q '^command' <<<"$rows"; then
        _bulkhead_offer "$(awk -F '\t' '$1 == "command" && !seen[$2]++ { print $2 }' <<<"$rows")" \
            "$current"
    else
        argument=$("${path[@]}" --help 2>/dev/null |
            awk 'NR == 1 && $NF ~ /^\[?(FILE|NAME)\.\.\.\]?$/ { gsub(/[][.]/, "", $NF); print $NF }')
        _bulkhead_argument "$argument" "$program" "$current"
    fi
}

complete -F _bulkhead bulkhead
