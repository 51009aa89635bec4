# fish completion for bulkhead(1). It reads the program's own --help at each call, and so offers
# what the installed version takes. Needs awk.

# Rows of a help text: kind, short option or "-", name, value or "-", description.
function __bulkhead_rows
    command $argv --help 2>/dev/null | awk '
        /^Commands:/ { commands = 1; next }
        /^$/ { commands = 0 }
        /^  [a-z]/ || /^  (    )?-/ { # a line that goes on stands further in
            text = $0; sub(/^ +/, "", text)
            at = match(text, /   *[^ ]/); said = at ? substr(text, at) : ""; sub(/^ +/, "", said)
            $0 = at ? substr(text, 1, at - 1) : text; short = "-"
            if ($1 ~ /^-[a-zA-Z],$/) {
                short = substr($1, 1, 2); sub(/^-., */, "")
            }
            value = NF > 1 ? $2 : "-"
            if ($1 ~ /^--/) { print "option\t" short "\t" $1 "\t" value "\t" said }
            else if (commands) { print "command\t-\t" $1 "\t" value "\t" said }
        }'
end

# The value that option $argv[1] takes by the rows that follow; fails when it takes none.
function __bulkhead_value
    for row in $argv[2..-1]
        set -l cell (string split \t -- $row)
        if test $cell[1] = option; and contains -- $argv[1] $cell[2..3]; and test "$cell[4]" != -
            echo $cell[4]
            return 0
        end
    end
    return 1
end

# What stands after a command: FILE, a choice such as a|b, the name of a reason, or nothing.
function __bulkhead_argument
    switch "$argv[1]"
        case 'FILE*' 'PATH*'
            __fish_complete_path (commandline -ct)
        case 'NAME*'
            command $argv[2] reasons 2>/dev/null | awk '{ name = $1; $1 = ""; print name "\t" substr($0, 2) }'
        case '*|*'
            string split '|' -- $argv[1]
    end
end

function __bulkhead_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l path $words[1]
    set -l rows (__bulkhead_rows $path)
    set -l argument ''
    set -l skip no
    for word in $words[2..-1]
        if test $skip = yes
            set skip no
        else if __bulkhead_value $word $rows >/dev/null
            set skip yes
        else if not string match -q -- '-*' $word; and test (count $path) -lt 3
            set -l own (string match -r -- '^command\t-\t'(string escape --style=regex -- $word)'\t.*' $rows)
            if test (count $own) -gt 0
                set argument (string split \t -- $own[1])[4]
                set -a path $word
                # A command of `ctl` has no help of its own: its options stand in its rows.
                if test (count $path) -eq 2
                    set rows (__bulkhead_rows $path)
                else
                    set rows (string match -r -- '^option\t.*' $rows) $own
                end
            else if string match -qr -- '^command\t' $rows
                return # no such command
            end
        end
    end
    if test $skip = yes
        switch (__bulkhead_value $words[-1] $rows)
            case FILE PATH 'DIR*'
                __fish_complete_path $current
        end
        return
    end
    if string match -q -- '--*=*' $current
        set -l part (string split -m 1 = -- $current)
        switch (__bulkhead_value $part[1] $rows)
            case FILE PATH 'DIR*'
                string replace -r -- '^' "$part[1]=" (__fish_complete_path $part[2])
        end
    else if string match -q -- '-*' $current
        for row in $rows
            set -l cell (string split \t -- $row)
            if test $cell[1] = option
                test $cell[2] != -; and printf '%s\t%s\n' $cell[2] $cell[5]
                printf '%s\t%s\n' $cell[3] $cell[5]
            else if test (count $path) -gt 2; and string match -q -- '-?*' $cell[4]
                printf '%s\t%s\n' $cell[4] $cell[5]
            end
        end
    else if test (count $path) -gt 2
        __bulkhead_argument $argument $path[1]
    else if string match -qr -- '^command\t' $rows
        for row in $rows
            set -l cell (string split \t -- $row)
            test $cell[1] = command; and printf '%s\t%s\n' $cell[3] $cell[5]
        end
    else
        set argument (command $path --help 2>/dev/null | awk '
            NR == 1 && $NF ~ /^\[?(FILE|NAME)\.\.\.\]?$/ { gsub(/[][.]/, "", $NF); print $NF }')
        __bulkhead_argument "$argument" $path[1]
    end
end

complete -c bulkhead -f -a '(__bulkhead_complete)'
