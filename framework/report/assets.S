/* The page's template, its style, its scripts in order and Chart.js, as bytes in the program. */
    .section .rodata
    .global retort_page_html, retort_page_html_end, retort_page_css, retort_page_css_end
    .global retort_live_js, retort_live_js_end
    .global retort_page_js, retort_page_js_end, retort_chart_js, retort_chart_js_end
retort_page_html:
    .incbin "page.html"
retort_page_html_end:
    .byte 0
retort_page_css:
    .incbin "page/page.css"
retort_page_css_end:
    .byte 0
retort_page_js:
    .incbin "page/values.js"
    .incbin "page/core.js"
    .incbin "page/controls.js"
    .incbin "page/settings.js"
    .incbin "page/table.js"
    .incbin "page/maps.js"
    .incbin "page/charts.js"
    .incbin "page/plots.js"
    .incbin "page/ranks.js"
    .incbin "page/samples.js"
    .incbin "page/training.js"
    .incbin "page/main.js"
retort_page_js_end:
    .byte 0
retort_live_js:
    .incbin "page/live.js"
retort_live_js_end:
    .byte 0
retort_chart_js:
    .incbin RETORT_CHART_JS
retort_chart_js_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
